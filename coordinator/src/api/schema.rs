//! How the record's own types look in OpenAPI. They stand here and not with the types, because the record knows no HTTP.

use std::borrow::Cow;

use utoipa::openapi::schema::{ArrayBuilder, Type};
use utoipa::openapi::{ObjectBuilder, Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::auth::{Scope, Scopes};
use crate::record::{Identifier, Role, Storage, UserRole};

impl PartialSchema for Identifier {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(
                "A name on the record: letters, digits, '.', '_' and '-'; it begins with a letter or digit.",
            ))
            .pattern(Some("^[A-Za-z0-9][A-Za-z0-9._-]*$"))
            .min_length(Some(1))
            .max_length(Some(Self::MAX_LENGTH))
            .examples(["designs"])
            .into()
    }
}

impl ToSchema for Identifier {
    fn name() -> Cow<'static, str> {
        "Identifier".into()
    }
}

/// Types that are one of a few words.
macro_rules! words {
    ($($type:ty: $name:literal, $about:literal, [$($word:literal),*];)*) => {
        $(
            impl PartialSchema for $type {
                fn schema() -> RefOr<Schema> {
                    ObjectBuilder::new()
                        .schema_type(Type::String)
                        .description(Some($about))
                        .enum_values(Some([$($word),*]))
                        .into()
                }
            }

            impl ToSchema for $type {
                fn name() -> Cow<'static, str> {
                    $name.into()
                }
            }
        )*

        #[cfg(test)]
        fn every_word_is_read() {
            $($(assert!(serde_json::from_value::<$type>($word.into()).is_ok(), "{} {}", $name, $word);)*)*
        }
    };
}

words! {
    UserRole: "UserRole", "What a user may do in its tenant, apart from datasets. An administrator registers, suspends and \
        resumes users; a member creates datasets and uses those that it has a role in.", ["administrator", "member"];
    Storage: "Storage", "Where bodies are stored: in the record itself, at most 2 KiB, or in the body store.", ["ledger", "off-chain"];
    Role: "Role", "What a user may do with a dataset. An owner manages permissions and configuration, erases, writes and reads; a writer \
        writes documents and links and does not read; a reader reads.", ["owner", "writer", "reader"];
    Scope: "Scope", "One thing that an API key may be used for.", ["read", "write", "manage", "audit", "keys"];
}

impl PartialSchema for Scopes {
    fn schema() -> RefOr<Schema> {
        ArrayBuilder::new()
            .items(Ref::from_schema_name("Scope"))
            .description(Some("What an API key may be used for; at least one."))
            .min_items(Some(1))
            .into()
    }
}

impl ToSchema for Scopes {
    fn name() -> Cow<'static, str> {
        "Scopes".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push(("Scope".to_owned(), Scope::schema()));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_words_of_the_schemas_are_those_of_the_code() {
        super::every_word_is_read();
    }
}
