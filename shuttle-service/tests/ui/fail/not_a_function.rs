#[shuttle_service::main]
pub struct App {
    name: String,
}

fn main() {}
