//! The description of the API (OpenAPI 3.1), out of the handlers themselves.
//!
//! Each handler carries what it takes and gives. What holds for all of them is added here, from the table that the router is made
//! of: the scopes that a key must have, the parts of the path, the header for requests that must not happen twice, and the problems that
//! any answer can be. So nothing in it can say what the code does not do.

use std::sync::OnceLock;

use serde_json::json;
use utoipa::openapi::extensions::{Extensions, ExtensionsBuilder};
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    ComponentsBuilder, Content, ContentBuilder, Header, InfoBuilder, OpenApi, OpenApiBuilder,
    Paths, Ref, RefOr, Required, Schema,
};

use super::auth::Scope;
use super::problem::ProblemView;
use super::problem_types::{self, ProblemType};
use super::{Door, Once, door_table, open_table};

const SCHEME: &str = "api-key";
const ABOUT: &str = "\
Documents that several organisations exchange, and that no single one of them can open without the others' approval.

**API keys.** Every route but those without security needs `Authorization: Bearer KEY`. A key belongs to one tenant: what \
belongs to another does not exist for it (404). The roles named with a route are the scopes of which the key must have one.

**Signatures.** What changes the record is a transaction that its author signs with Ed25519, in canonical CBOR \
(`docs/protocol/golden-record.md`). Routes that *prepare* something answer with the unsigned transaction, hexadecimal in \
`transaction`; check it, sign it, and send the signed one to where the route says.

**Errors** are problem details (RFC 9457). `type` is `/problems/CODE`; all codes are in `x-problem-types` of this file, and \
`GET /problems/{code}` explains one.

**Request ids.** Every answer has `x-request-id`, the caller's own if it sent a short plain word; the platform's logs have it too.

**Managed users.** A user can leave its key to the platform (`managed` in the list of users). Then the platform signs for it, as the record shows: \
requests that prepare something for other users do it at once for a managed one (201), and documents are written and read in one request each (`content`). \
An API key that is bound to a user is for that user alone, and names it where nobody else is named.

**Not twice.** Requests that make or change something take an `Idempotency-Key`. The same key with the same request gives the same \
answer, however often and after a restart too; with another body it is refused. Those that take none can be repeated as they are: what they give up is given up, \
what they send is there, what they complete is the same upload; a read that is committed is used up, and is prepared anew.

**Versions.** What can change and is fetched by itself has an `ETag`; `If-None-Match` saves a fetch, `If-Match` keeps a change from undoing another's.";

/// Version of the API, not of the software: it changes when the API does.
const VERSION: &str = "1.0.0";

/// The document.
pub fn document() -> OpenApi {
    let mut paths = Paths::new();
    let mut schemas: Vec<(String, RefOr<Schema>)> = Vec::new();
    for (door, (more, mut described, _)) in door_table() {
        for item in described.paths.values_mut() {
            for operation in operations(item) {
                describe(operation, &door);
            }
        }
        schemas.extend(more);
        paths.merge(described);
    }
    for (more, mut described, _) in open_table() {
        for item in described.paths.values_mut() {
            operations(item).for_each(|operation| operation.security = Some(Vec::new()));
        }
        schemas.extend(more);
        paths.merge(described);
    }
    for (path, item) in &mut paths.paths {
        for operation in operations(item) {
            in_path(operation, path);
            bytes(operation);
            answers(operation);
        }
    }
    let mut components = ComponentsBuilder::new();
    schemas.push((
        "Problem".to_owned(),
        <ProblemView as utoipa::PartialSchema>::schema(),
    ));
    schemas.push((
        "ProblemType".to_owned(),
        <ProblemType as utoipa::PartialSchema>::schema(),
    ));
    for (name, schema) in schemas {
        components = components.schema(name, schema);
    }
    let components = components
        .response("Problem", problem())
        .security_scheme(
            SCHEME,
            SecurityScheme::Http(
                HttpBuilder::new()
                    .scheme(HttpAuthScheme::Bearer)
                    .bearer_format("TENANT.KEY-ID.HMAC")
                    .description(Some(
                        "An API key; `coordinator key create` or `POST …/keys` makes one.",
                    ))
                    .build(),
            ),
        )
        .build();
    let tags = [
        (
            "datasets",
            "Datasets, their configuration and their permissions.",
        ),
        (
            "documents",
            "Documents and their versions: written, read, erased.",
        ),
        ("links", "Links between versions of documents, with proofs."),
        ("users", "The tenant's users."),
        ("keys", "API keys."),
        ("record", "Signed transactions."),
        ("audit", "Proofs of what happened."),
        ("platform", "The platform itself."),
    ];
    let mut document = OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Coordinator")
                .version(VERSION)
                .description(Some(ABOUT))
                .license(Some(utoipa::openapi::License::new("MIT OR Apache-2.0")))
                .build(),
        )
        .paths(paths)
        .components(Some(components))
        .tags(Some(tags.map(|(name, about)| {
            TagBuilder::new()
                .name(name)
                .description(Some(about))
                .build()
        })))
        .build();
    document.extensions = Some(types());
    document
}

/// The document as the file `openapi.json` has it: made once, since anybody may ask for it.
#[allow(
    clippy::expect_used,
    reason = "a value of our own is written into a string"
)]
pub fn text() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let mut text = serde_json::to_string_pretty(&document()).expect("it is JSON");
        text.push('\n');
        text
    })
}

fn types() -> Extensions {
    ExtensionsBuilder::new()
        .add("x-problem-types", json!(problem_types::ALL))
        .build()
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [
        &mut item.get,
        &mut item.put,
        &mut item.post,
        &mut item.delete,
    ]
    .into_iter()
    .flatten()
}

/// What the door asks for.
fn describe(operation: &mut Operation, door: &Door) {
    let scopes: Vec<SecurityRequirement> = if door.needs.len() == Scope::ALL.len() {
        vec![SecurityRequirement::new(SCHEME, <[&str; 0]>::default())]
    } else {
        let needs = door.needs.iter();
        needs
            .map(|scope| SecurityRequirement::new(SCHEME, [scope.name()]))
            .collect()
    };
    operation.security = Some(scopes);
    if door.once != Once::No {
        let header = ParameterBuilder::new()
            .name("Idempotency-Key")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(
                "1 to 128 visible characters, drawn at random for each thing that is to be made. Who repeats the request with the same \
                 key gets the same answer, and nothing is made twice.",
            ))
            .schema(Some(
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .min_length(Some(1))
                    .max_length(Some(128))
                    .examples(["019a0000-0000-7000-8000-000000000001"])
                    .build(),
            ));
        add(operation, header.build());
    }
}

fn add(operation: &mut Operation, parameter: Parameter) {
    let parameters = operation.parameters.get_or_insert_default();
    parameters.push(parameter.into());
}

/// The names in the path.
fn in_path(operation: &mut Operation, path: &str) {
    for name in path
        .split('{')
        .skip(1)
        .filter_map(|rest| rest.split('}').next())
    {
        let text = |about: &'static str, example: &'static str| (about, example, false);
        let named = |about: &'static str, example: &'static str| (about, example, true);
        let (about, example, identifier) = match name {
            "tenant" => named("The tenant, which must be that of the API key.", "acme"),
            "dataset" => named("The dataset.", "designs"),
            "document" => named("The document.", "bridge"),
            "link" => named("The link.", "bridge-of-plan"),
            "user" => named("The user.", "alice"),
            "of_tenant" if path.contains("/shared/") => {
                named("The tenant that the dataset belongs to.", "umbra")
            }
            "of_tenant" => named("The user's own tenant.", "umbra"),
            "client" => text(
                "The client: SHA-256 of the SubjectPublicKeyInfo of its TLS key, hexadecimal.",
                "72c5…64 hexadecimal digits",
            ),
            "role" => text("`owner`, `writer` or `reader`.", "reader"),
            "key" => text(
                "The API key's id: 16 hexadecimal digits.",
                "0011223344556677",
            ),
            "request" => text(
                "The transaction that asked, hexadecimal.",
                "5a0b…64 hexadecimal digits",
            ),
            "version" => text("The version's number, or `latest`.", "3"),
            "read" => text(
                "The transaction that read, hexadecimal.",
                "5a0b…64 hexadecimal digits",
            ),
            "code" => text("The code of a problem.", "not-permitted"),
            _ => text(
                "What the platform prepared.",
                "019a0000-0000-7000-8000-000000000001",
            ),
        };
        let schema: RefOr<Schema> = if identifier {
            Ref::from_schema_name("Identifier").into()
        } else {
            ObjectBuilder::new().schema_type(Type::String).into()
        };
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .description(Some(about))
            .schema(Some(schema))
            .example(Some(json!(example)));
        add(operation, parameter.build());
    }
}

/// Bodies that are bytes and nothing else.
fn bytes(operation: &mut Operation) {
    let schema = || {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)))
            .build()
    };
    let set = |contents: &mut dyn Iterator<Item = (&String, &mut RefOr<Content>)>| {
        for (kind, content) in contents {
            if let RefOr::T(content) = content
                && kind == "application/octet-stream"
                && content.schema.is_none()
            {
                content.schema = Some(schema().into());
            }
        }
    };
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        set(&mut body.content.iter_mut());
        body.required = body.required.clone().or(Some(Required::True));
    }
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            set(&mut response.content.iter_mut());
        }
    }
}

/// What any answer can be.
fn answers(operation: &mut Operation) {
    let identified = Header::new(ObjectBuilder::new().schema_type(Type::String).build());
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response {
            if response.description.is_empty() {
                response.description = match status.as_str() {
                    "201" => "It is done.",
                    "202" => {
                        "A transaction to check, to sign, and to send to `transactions`; of a managed user it is done already (201)."
                    }
                    _ => "What was asked for.",
                }
                .to_owned();
            }
            response
                .headers
                .insert("x-request-id".to_owned(), identified.clone().into());
        }
    }
    if operation
        .security
        .as_ref()
        .is_some_and(|needs| !needs.is_empty())
    {
        for status in ["401", "403", "404", "429"] {
            let known = operation.responses.responses.entry(status.to_owned());
            known.or_insert_with(|| Ref::from_response_name("Problem").into());
        }
    }
    let other = operation.responses.responses.entry("default".to_owned());
    other.or_insert_with(|| Ref::from_response_name("Problem").into());
}

fn problem() -> Response {
    let header = |about: &str| {
        let mut header = Header::new(ObjectBuilder::new().schema_type(Type::String).build());
        header.description = Some(about.to_owned());
        header
    };
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .build();
    ResponseBuilder::new()
        .description("A problem; `code` is one of `x-problem-types`.")
        .content("application/problem+json", content)
        .header("x-request-id", header("The request's id."))
        .header(
            "Retry-After",
            header("With 429 and 503: seconds after which the same request may succeed."),
        )
        .build()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    /// `coordinator api > coordinator/openapi.json` writes it anew; so does this with `WRITE_OPENAPI` set.
    #[test]
    fn the_committed_file_is_what_the_code_says() {
        if std::env::var_os("WRITE_OPENAPI").is_some() {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
            std::fs::write(path, text()).unwrap();
            return;
        }
        let committed = include_str!("../../openapi.json");
        assert!(
            committed == text(),
            "write it anew: coordinator api > coordinator/openapi.json"
        );
    }

    #[test]
    fn everything_is_described_with_examples() {
        let document: serde_json::Value = serde_json::from_str(text()).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let what = format!("{method} {path}");
                assert!(operation["summary"].is_string(), "{what}");
                assert!(operation["operationId"].is_string(), "{what}");
                assert!(operation["tags"].is_array(), "{what}");
                assert!(operation["security"].is_array(), "{what}");
                assert!(operation["responses"]["default"].is_object(), "{what}");
                for response in operation["responses"].as_object().unwrap().values() {
                    let told = response["description"].is_string() || response["$ref"].is_string();
                    assert!(told, "{what}");
                }
            }
        }
        for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
            // Words and parts of lists say all there is to say by themselves.
            let plain =
                schema["enum"].is_array() || schema["type"] == "array" || name.starts_with("Page_");
            let example = schema["example"].is_object() || schema["examples"].is_array();
            assert!(schema["description"].is_string(), "{name}");
            assert!(
                plain || example || schema["allOf"].is_array(),
                "{name} has no example"
            );
        }
        // What is referred to is there.
        let text = document.to_string();
        for part in text.split("\"$ref\":\"#").skip(1) {
            let pointer = part.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }

    /// Whether a header is among those that an operation takes.
    fn takes(operation: &serde_json::Value, header: &str) -> bool {
        let parameters = operation["parameters"].as_array();
        let known = |it: &serde_json::Value| it["in"] == "header" && it["name"] == header;
        parameters.is_some_and(|all| all.iter().any(known))
    }

    /// What changes something takes an `Idempotency-Key`, but for what can be repeated as it is.
    #[test]
    fn what_changes_something_happens_once() {
        // Giving up is that however often; parts that are there are passed over; a completion is of its upload; the answer to a read is a document, which is
        // remembered nowhere.
        let repeatable = [
            "commit_read",
            "complete_parts",
            "discard_parts",
            "discard_upload",
            "revoke_key",
            "send_part",
        ];
        let document: serde_json::Value = serde_json::from_str(text()).unwrap();
        let mut without = Vec::new();
        for item in document["paths"].as_object().unwrap().values() {
            for (method, operation) in item.as_object().unwrap() {
                let once = takes(operation, "Idempotency-Key");
                assert!(!once || method != "get", "{operation}");
                if !once && method != "get" {
                    without.push(operation["operationId"].as_str().unwrap());
                }
            }
        }
        without.sort_unstable();
        assert_eq!(without, repeatable);
    }

    /// Whoever changes what has an `ETag` can say which state of it he has seen.
    #[test]
    fn what_has_a_tag_is_changed_as_it_was_seen() {
        let document: serde_json::Value = serde_json::from_str(text()).unwrap();
        let paths = document["paths"].as_object().unwrap();
        let tagged = |item: &serde_json::Value| {
            item["get"]["responses"]["200"]["headers"]["ETag"].is_object()
        };
        let of_tenant = |path: &str| path.replace("/v1/tenants/{tenant}/", "");
        let mut all: Vec<String> = paths
            .iter()
            .filter(|(_, item)| tagged(item))
            .map(|(path, _)| of_tenant(path))
            .collect();
        all.sort_unstable();
        let expected = [
            "authorities",
            "datasets/{dataset}",
            "datasets/{dataset}/documents/{document}",
            "datasets/{dataset}/documents/{document}/content",
            "datasets/{dataset}/links/{link}",
            "datasets/{dataset}/permissions",
            "shared/{of_tenant}/datasets/{dataset}/documents/{document}",
            "shared/{of_tenant}/datasets/{dataset}/documents/{document}/content",
            "users/{user}",
        ];
        assert_eq!(all, expected);
        // What comes onto the record beside it, and changes no state that anybody could have seen, or says itself which.
        let beside = [
            "/access-requests",
            "/access-requests/{request}/decline",
            "/access-requests/{request}/grant",
            "/owned/erase",
            "/reads",
            "/rewraps",
            "/transactions",
        ];
        let mut conditional = 0;
        for (path, item) in paths {
            let path = of_tenant(path);
            let below = |it: &&str| {
                path.strip_prefix(*it)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            if !expected.iter().any(below) || beside.iter().any(|it| path.ends_with(it)) {
                continue;
            }
            for (method, operation) in item.as_object().unwrap() {
                if method != "get" {
                    assert!(takes(operation, "If-Match"), "{method} {path}");
                    conditional += 1;
                }
            }
        }
        assert_eq!(conditional, 17);
    }
}
