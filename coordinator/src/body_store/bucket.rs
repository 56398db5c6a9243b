//! Buckets: S3, Google Cloud Storage, Azure Blob Storage, named by a URL.
//!
//! Credentials come from the environment, by the names that each service's own tools use, or from the machine that this runs on. The client of each
//! service tries again by itself, up to ten times and for as long as the settings say, what failed on the way or with an error of the server's: a
//! request that comes twice does what it does once, and a fetch that broke off goes on where it was.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::multipart::MultipartStore;
use object_store::prefix::PrefixStore;
use object_store::{ClientConfigKey, ObjectStore, RetryConfig};

use super::BodyStoreError;
use crate::config::BodiesConfig;

/// Seconds that one request may take.
const REQUEST_S: u64 = 30;
/// Seconds for which one is tried again.
const RETRY_S: u64 = 180;

/// What kind of bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Amazon S3, or a service that speaks as it does.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azure,
}

/// A bucket, as a URL names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Whose.
    pub service: Service,
    /// The bucket, or container.
    pub name: String,
    /// What the names of all objects in it begin with.
    pub prefix: Option<String>,
}

/// A client of a bucket: of its objects, and of uploads to it by their names.
pub(super) struct Opened {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) uploads: Arc<dyn MultipartStore>,
}

impl Opened {
    fn of(store: impl ObjectStore + MultipartStore) -> Self {
        let store = Arc::new(store);
        Self {
            uploads: store.clone(),
            store,
        }
    }
}

/// A text that names no bucket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be s3://BUCKET, gs://BUCKET or az://CONTAINER, with /PREFIX behind it if there is one"
)]
pub struct NoBucket;

impl std::str::FromStr for Bucket {
    type Err = NoBucket;

    fn from_str(text: &str) -> Result<Self, NoBucket> {
        let (scheme, rest) = text.split_once("://").ok_or(NoBucket)?;
        let service = match scheme {
            "s3" => Service::S3,
            "gs" => Service::Gcs,
            "az" => Service::Azure,
            _ => return Err(NoBucket),
        };
        let (name, prefix) = match rest.split_once('/') {
            Some((name, prefix)) => (name, prefix.trim_end_matches('/')),
            None => (rest, ""),
        };
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let parts = prefix.split('/').filter(|_| !prefix.is_empty());
        let mut parts = parts.chain([name]);
        if !parts.all(|part| !part.is_empty() && part != ".." && part.bytes().all(plain)) {
            return Err(NoBucket);
        }
        Ok(Self {
            service,
            name: name.to_owned(),
            prefix: (!prefix.is_empty()).then(|| prefix.to_owned()),
        })
    }
}

impl Bucket {
    /// The bucket that the settings name, if they name one. They were checked.
    pub(super) fn of(settings: &BodiesConfig) -> Option<Self> {
        if let Some(url) = &settings.url {
            return url.parse().ok();
        }
        Some(Self {
            service: Service::S3,
            name: settings.bucket.clone()?,
            prefix: settings.prefix.clone(),
        })
    }

    /// A client of it. Nothing is asked yet.
    pub(super) fn open(&self, settings: &BodiesConfig) -> Result<Opened, BodyStoreError> {
        let endpoint = settings.endpoint.as_deref();
        // The settings allow plain HTTP on loopback alone.
        let plain = endpoint.is_some_and(|it| it.starts_with("http://"));
        let within = format!("{}s", settings.request_s.unwrap_or(REQUEST_S));
        let retry = RetryConfig {
            retry_timeout: Duration::from_secs(settings.retry_s.unwrap_or(RETRY_S)),
            ..RetryConfig::default()
        };
        Ok(match self.service {
            Service::S3 => {
                let mut builder = AmazonS3Builder::from_env()
                    .with_bucket_name(&self.name)
                    .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), within)
                    .with_retry(retry);
                if let Some(region) = &settings.region {
                    builder = builder.with_region(region);
                }
                if let Some(endpoint) = endpoint {
                    builder = builder.with_endpoint(endpoint).with_allow_http(plain);
                }
                self.prefixed(builder.build()?)
            }
            Service::Gcs => {
                let client = GoogleConfigKey::Client;
                let mut builder = GoogleCloudStorageBuilder::from_env()
                    .with_bucket_name(&self.name)
                    .with_config(client(ClientConfigKey::Timeout), within)
                    .with_retry(retry);
                if let Some(endpoint) = endpoint {
                    builder = builder
                        .with_config(GoogleConfigKey::BaseUrl, endpoint)
                        .with_config(client(ClientConfigKey::AllowHttp), plain.to_string());
                }
                self.prefixed(builder.build()?)
            }
            Service::Azure => {
                let mut builder = MicrosoftAzureBuilder::from_env()
                    .with_container_name(&self.name)
                    .with_config(AzureConfigKey::Client(ClientConfigKey::Timeout), within)
                    .with_retry(retry);
                if let Some(endpoint) = endpoint {
                    builder = builder
                        .with_endpoint(endpoint.to_owned())
                        .with_allow_http(plain);
                }
                self.prefixed(builder.build()?)
            }
        })
    }

    fn prefixed(&self, store: impl ObjectStore + MultipartStore) -> Opened {
        match &self.prefix {
            Some(prefix) => Opened::of(PrefixStore::new(store, prefix.as_str())),
            None => Opened::of(store),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_url_names_service_bucket_and_prefix() {
        let read = |text: &str| text.parse::<Bucket>();
        let bucket = |service, name: &str, prefix: Option<&str>| Bucket {
            service,
            name: name.to_owned(),
            prefix: prefix.map(str::to_owned),
        };
        assert_eq!(
            read("s3://documents"),
            Ok(bucket(Service::S3, "documents", None))
        );
        assert_eq!(
            read("gs://documents/of/us/"),
            Ok(bucket(Service::Gcs, "documents", Some("of/us")))
        );
        assert_eq!(
            read("az://documents/us"),
            Ok(bucket(Service::Azure, "documents", Some("us")))
        );
        for bad in [
            "",
            "documents",
            "s3://",
            "s3:///x",
            "http://documents",
            "gs://a b",
            "gs://a/../b",
            "az://a//b",
            "s3://a?x",
        ] {
            assert_eq!(read(bad), Err(NoBucket), "{bad}");
        }
    }

    #[test]
    fn each_service_has_a_client() {
        let settings = |url: &str, endpoint: Option<&str>| BodiesConfig {
            url: Some(url.to_owned()),
            region: Some("eu-central-1".to_owned()),
            endpoint: endpoint.map(str::to_owned),
            ..BodiesConfig::default()
        };
        let shown = |settings: &BodiesConfig| {
            let bucket = Bucket::of(settings).unwrap();
            bucket.open(settings).map(|it| it.store.to_string())
        };
        let s3 = shown(&settings("s3://documents", None)).unwrap();
        assert!(s3.contains("AmazonS3(documents)"), "{s3}");
        let under = shown(&settings("s3://documents/us", None)).unwrap();
        assert_eq!(under, "PrefixObjectStore(us)");
        let gcs = shown(&settings("gs://documents", Some("http://127.0.0.1:4443"))).unwrap();
        assert!(gcs.contains("GoogleCloudStorage(documents)"), "{gcs}");
        // Without an account there is no client: its name comes from the environment.
        let azure = shown(&settings("az://documents", None));
        let named = std::env::var_os("AZURE_STORAGE_ACCOUNT_NAME").is_some();
        assert_eq!(azure.is_ok(), named, "{azure:?}");
    }
}
