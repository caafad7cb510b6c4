//! The builder: keeps copies of its clients' files and runs their compilers on them.
//!
//! Never decides what to compile and never trusts a client beyond its own view.

pub mod collect;
pub mod layout;
pub mod mirror;
pub mod slots;
pub mod tree;
pub mod views;

mod condition;
mod place;
pub struct BuilderConfig;
impl BuilderConfig {
    pub fn embedded(
        _: quicc_certs::Identity,
        _: quicc_certs::Identity,
        _: String,
        _: String,
        _: std::path::PathBuf,
    ) -> Self {
        Self
    }
    pub fn from_file(
        _: &crate::config::BuilderFile,
        _: quicc_certs::Identity,
        _: quicc_certs::Identity,
    ) -> Self {
        Self
    }
}
pub struct B;
impl B {
    pub async fn serve(
        self,
        _: crate::transport::Endpoint,
        _: impl Future<Output = ()>,
    ) -> Result<(), std::io::Error> {
        Ok(())
    }
}
pub async fn prepare(_: BuilderConfig) -> Result<B, std::io::Error> {
    Ok(B)
}
