//! Start.
fn main() {
    print!("{}", rollcall::http::openapi_document());
}
