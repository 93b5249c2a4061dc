use std::convert::Infallible;

use hyper::{Request, Response, body::Incoming};
use tower::util::BoxCloneService;

type Boxed = BoxCloneService<Request<Incoming>, Response<String>, Infallible>;

#[shuttle_service::main]
async fn app() -> Result<Boxed, shuttle_service::Error> {
    Ok(Boxed::new(tower::service_fn(async |_| Ok(Response::new("Hello, world!".to_owned())))))
}
