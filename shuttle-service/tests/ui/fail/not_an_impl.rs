struct App;

#[shuttle_service::main]
impl App {
    async fn app(self) {}
}

fn main() {}
