//! An application that writes a document and reads it in both ways: opened by the platform, and opened here.
//!
//! ```sh
//! export COORDINATOR_PROFILE=D/client.toml
//! cargo run -p coordinator --example exchange -- designs bridge bridge.pdf
//! ```
//!
//! The profile is what `coordinator init` and `coordinator client init` write: the platform's URL, tenant and API key, the user and the file
//! of its key, and the organisations' verifier keys. The dataset is under a cluster's key: `coordinator dataset create designs`.

use std::error::Error;
use std::path::Path;

use coordinator::client::profile::Profile;
use coordinator::client::{Client, GetOptions, PutOptions, Signer, user_key};
use coordinator::record::Identifier;

/// One client for a platform and a user; all tasks share it.
pub(crate) fn connect(profile: &Path) -> Result<Client, Box<dyn Error>> {
    let profile = Profile::read(profile)?;
    let (url, tenant) = profile.url.zip(profile.tenant).ok_or("no platform")?;
    let api_key = profile.api_key.ok_or("no API key")?;
    let mut client = Client::new(&url, tenant, api_key.expose().to_owned())?;
    // What must be provable the user signs, and the key that it signs with never leaves this process.
    let (user, key) = profile.user.zip(profile.key).ok_or("no user")?;
    client.sign_as(Signer::new(user, user_key::read(&key)?));
    // What the platform says of the record is believed if the organisations signed it. Get these keys from them, not from the platform.
    let verifiers = std::fs::read_to_string(profile.verifiers.ok_or("no verifier keys")?)?;
    let keys = verifiers.lines().filter(|line| !line.starts_with('#'));
    client.pin_organisations(keys.map(str::parse).collect::<Result<_, _>>()?);
    Ok(client)
}

/// Writes a file as the document's next version, and gives its number. Whatever its size, it streams.
pub(crate) async fn write(
    client: &Client,
    dataset: &Identifier,
    document: &Identifier,
    file: &Path,
) -> Result<u64, Box<dyn Error>> {
    let source = tokio::fs::File::open(file).await?;
    let options = PutOptions {
        content_type: Some("application/octet-stream".to_owned()),
        ..PutOptions::default()
    };
    let written = client.put(dataset, document, source, options).await?;
    Ok(written.version)
}

/// Has the platform open a version, and takes the plaintext from it.
pub(crate) async fn read(
    client: &Client,
    dataset: &Identifier,
    document: &Identifier,
    version: u64,
) -> Result<Vec<u8>, Box<dyn Error>> {
    let options = GetOptions {
        version: Some(version),
        ..GetOptions::default()
    };
    let mut plaintext = Vec::new();
    client
        .get_with(dataset, document, options, &mut plaintext)
        .await?;
    Ok(plaintext)
}

/// Opens a version here: the platform passes on what it cannot open, and whatever it exchanged would be an error. Gives the plaintext
/// and who wrote it.
pub(crate) async fn read_end_to_end(
    client: &Client,
    dataset: &Identifier,
    document: &Identifier,
    version: u64,
) -> Result<(Vec<u8>, String), Box<dyn Error>> {
    let options = GetOptions {
        version: Some(version),
        ..GetOptions::default()
    };
    let mut plaintext = Vec::new();
    let got = client
        .get_end_to_end(dataset, document, options, &mut plaintext)
        .await?;
    let verified = got.verified.ok_or("nothing was verified")?;
    Ok((plaintext, verified.writer))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dataset, document, file] = arguments.as_slice() else {
        return Err("usage: exchange DATASET DOCUMENT FILE".into());
    };
    let client = connect(std::env::var("COORDINATOR_PROFILE")?.as_ref())?;
    let (dataset, document) = (dataset.parse()?, document.parse()?);
    let version = write(&client, &dataset, &document, file.as_ref()).await?;
    eprintln!("version {version} is on the record");
    let opened_there = read(&client, &dataset, &document, version).await?;
    let (opened_here, writer) = read_end_to_end(&client, &dataset, &document, version).await?;
    eprintln!("{} bytes, written by {writer}", opened_here.len());
    match opened_there == opened_here {
        true => Ok(()),
        false => Err("the platform gave something else than the record has".into()),
    }
}
