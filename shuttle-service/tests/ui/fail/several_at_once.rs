// Every mistake is told, not only the first one.
#[shuttle_service::main]
fn app<T>(_: T) {}
