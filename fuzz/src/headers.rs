//! Small texts of outsiders: headers of requests, and the file by which an organisation tells the others who it is.

use coordinator::peer::setup::OrganisationFile;
use coordinator::platform::ByteRange;
use cryptonode::wire::v1::TraceParent;
use serde_json::json;

use crate::certificates::AUTHORITY;
use crate::{Target, Verdict, refused, text};

pub(crate) fn targets() -> Vec<Target> {
    vec![
        Target {
            name: "byte_range",
            run: byte_range,
            seeds: || {
                ["0-99", "bytes=100-", "-100", "18446744073709551615-"]
                    .iter()
                    .zip(1..)
                    .map(|(range, number)| (format!("ok-{number}"), range.as_bytes().to_vec()))
                    .collect()
            },
        },
        Target {
            name: "traceparent",
            run: traceparent,
            seeds: || {
                let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
                vec![("ok".to_owned(), trace.as_bytes().to_vec())]
            },
        },
        Target {
            name: "organisation_file",
            run: organisation_file,
            seeds: || {
                let file = json!({
                    "name": "oak", "operator_key": "01".repeat(32), "head_key": "02".repeat(32),
                    "certificate": AUTHORITY.issuer.certificate_pem(), "address": "192.0.2.1:7720",
                });
                vec![("ok".to_owned(), file.to_string().into_bytes())]
            },
        },
    ]
}

/// Any text as a range: it is written as it is read, and is within every document.
fn byte_range(bytes: &[u8]) -> Verdict {
    let range: ByteRange = text(bytes)?.parse().or_else(|_| refused("no-range"))?;
    assert_eq!(range.header().parse(), Ok(range));
    for length in [0, 1, 100, u64::MAX] {
        if let Some(within) = range.within(length) {
            assert!(within.start < within.end && within.end <= length);
        }
    }
    Ok(())
}

/// Any text as a trace, of the wire (one encoding) and of a request's header.
fn traceparent(bytes: &[u8]) -> Verdict {
    let text = text(bytes)?;
    let of_header = TraceParent::from_header(text);
    let Some(trace) = TraceParent::parse(text) else {
        return refused("no-trace");
    };
    assert_eq!(trace.to_string(), text, "one encoding");
    assert!(of_header.is_some(), "the header takes what the wire takes");
    assert!(trace.trace() != [0; 16] && trace.span() != [0; 8]);
    Ok(())
}

/// Any bytes as what an organisation tells the others.
fn organisation_file(bytes: &[u8]) -> Verdict {
    let file: OrganisationFile = serde_json::from_slice(bytes).or_else(|_| refused("json"))?;
    let name = file.name.as_str();
    let told = certs::Organisation::from_pem(name, &[&file.certificate]);
    let told = told.map_err(|error| error.code().to_owned())?;
    assert!(told.name == name && !told.issuers.is_empty());
    Ok(())
}
