//! `SyncWrapper`, in which Shuttle's apps of 2022 returned their routers: whatever is in it is what serves.

use crate::{Error, Kind, Listen, Service, Serving};

macro_rules! sync_wrapper {
    ($krate:ident) => {
        impl<S: Service> Service for $krate::SyncWrapper<S> {
            const FRAMEWORK: &'static str = S::FRAMEWORK;
            const KIND: Kind = S::KIND;
            const LISTEN: Listen = S::LISTEN;

            async fn serve(self, serving: Serving) -> Result<(), Error> {
                self.into_inner().serve(serving).await
            }
        }
    };
}

sync_wrapper!(sync_wrapper);
#[cfg(feature = "web-axum")]
sync_wrapper!(sync_wrapper_0_1);
