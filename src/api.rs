//! HTTP and control-socket routes.
