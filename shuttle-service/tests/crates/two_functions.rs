//! Two annotated functions, which do not see each other.

pub mod one {
    #[shuttle_service::main]
    async fn first() -> Result<shuttle_service::Background, shuttle_service::Error> {
        Ok(shuttle_service::background(async |_| Ok(())))
    }
}

pub mod two {
    #[shuttle_service::main]
    async fn second() -> Result<shuttle_service::Background, shuttle_service::Error> {
        Ok(shuttle_service::background(async |_| Ok(())))
    }
}
