mod app {
    use redis::Client;

    #[shuttle_service::main]
    async fn app(
        p1: Client,
        p2: Client,
        p3: Client,
        p4: Client,
        p5: Client,
        p6: Client,
        p7: Client,
        p8: Client,
        p9: Client,
        p10: Client,
        p11: Client,
        p12: Client,
        p13: Client,
        p14: Client,
        p15: Client,
        p16: Client,
        p17: Client,
        p18: Client,
        p19: Client,
        p20: Client,
        p21: Client,
        p22: Client,
        p23: Client,
        p24: Client,
        p25: Client,
        p26: Client,
        p27: Client,
        p28: Client,
        p29: Client,
        p30: Client,
    ) -> shuttle_service::ShuttleAxum {
        drop([p1, p2, p3, p4, p5, p6, p7, p8, p9, p10, p11, p12, p13, p14, p15, p16, p17, p18, p19, p20, p21, p22, p23, p24, p25, p26, p27, p28, p29, p30]);
        Ok(axum::Router::new())
    }
}

fn main() {}
