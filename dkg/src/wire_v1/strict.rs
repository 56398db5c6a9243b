//! A reader that takes nothing but what the writer writes, so that nobody need write it again to see whether it is the one encoding.
//!
//! It knows the forms that the types here have, and no others: numbers without a sign, byte strings, texts, arrays, truth values, structs as maps
//! from their fields' names in the order in which they are declared, and enums as a text or as a map with one entry. Everything has the
//! shortest head and a definite length. Whatever else comes, also what might be right, it leaves to the general reader.

use std::fmt;

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

const NUMBER: u8 = 0;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const FALSE: u8 = 0xf4;
const TRUE: u8 = 0xf5;
const NULL: u8 = 0xf6;

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read<T> {
    /// With all fields of each struct: these are the bytes that are written of it.
    Whole(T),
    /// Fields that may be absent are: whether they are then, only the writer knows.
    WithoutSome(T),
}

/// Reads a value; `None` says nothing of the bytes but that they are not so simple.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Option<Read<T>> {
    let mut reader = Reader {
        rest: bytes,
        whole: true,
    };
    let value = T::deserialize(&mut reader).ok()?;
    if !reader.rest.is_empty() {
        return None;
    }
    Some(match reader.whole {
        true => Read::Whole(value),
        false => Read::WithoutSome(value),
    })
}

/// It is not so simple.
#[derive(Debug)]
struct NotSoSimple;

impl fmt::Display for NotSoSimple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not so simple")
    }
}

impl std::error::Error for NotSoSimple {}

impl Error for NotSoSimple {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

type Outcome<T> = Result<T, NotSoSimple>;

struct Reader<'de> {
    rest: &'de [u8],
    /// Whether all structs so far had all their fields.
    whole: bool,
}

impl<'de> Reader<'de> {
    fn chunk<const N: usize>(&mut self) -> Outcome<[u8; N]> {
        let (chunk, rest) = self.rest.split_first_chunk::<N>().ok_or(NotSoSimple)?;
        self.rest = rest;
        Ok(*chunk)
    }

    /// The number, or the length, at the head of an item of this kind, in its shortest form.
    fn head(&mut self, kind: u8) -> Outcome<u64> {
        let [first] = self.chunk()?;
        if first >> 5 != kind {
            return Err(NotSoSimple);
        }
        let (number, least) = match first & 0x1f {
            small @ 0..24 => (u64::from(small), 0),
            24 => (u64::from(u8::from_be_bytes(self.chunk()?)), 24),
            25 => (u64::from(u16::from_be_bytes(self.chunk()?)), 1 << 8),
            26 => (u64::from(u32::from_be_bytes(self.chunk()?)), 1 << 16),
            27 => (u64::from_be_bytes(self.chunk()?), 1 << 32),
            _ => return Err(NotSoSimple),
        };
        if number < least {
            return Err(NotSoSimple);
        }
        Ok(number)
    }

    fn length(&mut self, kind: u8) -> Outcome<usize> {
        usize::try_from(self.head(kind)?).map_err(|_| NotSoSimple)
    }

    fn string(&mut self, kind: u8) -> Outcome<&'de [u8]> {
        let length = self.length(kind)?;
        let (string, rest) = self.rest.split_at_checked(length).ok_or(NotSoSimple)?;
        self.rest = rest;
        Ok(string)
    }

    fn text(&mut self) -> Outcome<&'de str> {
        std::str::from_utf8(self.string(TEXT)?).map_err(|_| NotSoSimple)
    }

    fn elements<V: Visitor<'de>>(&mut self, visitor: V) -> Outcome<V::Value> {
        let left = self.length(ARRAY)?;
        let mut elements = Elements { reader: self, left };
        let value = visitor.visit_seq(&mut elements)?;
        match elements.left {
            0 => Ok(value),
            _ => Err(NotSoSimple),
        }
    }

    fn fields<V: Visitor<'de>>(
        &mut self,
        names: &'static [&'static str],
        visitor: V,
    ) -> Outcome<V::Value> {
        let left = self.length(MAP)?;
        self.whole &= left == names.len();
        let mut fields = Fields {
            reader: self,
            names,
            left,
        };
        let value = visitor.visit_map(&mut fields)?;
        match fields.left {
            0 => Ok(value),
            _ => Err(NotSoSimple),
        }
    }
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = NotSoSimple;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Outcome<V::Value> {
        Err(NotSoSimple)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Outcome<V::Value> {
        match self.chunk()? {
            [FALSE] => visitor.visit_bool(false),
            [TRUE] => visitor.visit_bool(true),
            _ => Err(NotSoSimple),
        }
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Outcome<V::Value> {
        visitor.visit_u64(self.head(NUMBER)?)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Outcome<V::Value> {
        visitor.visit_u64(self.head(NUMBER)?)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Outcome<V::Value> {
        visitor.visit_u64(self.head(NUMBER)?)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Outcome<V::Value> {
        visitor.visit_u64(self.head(NUMBER)?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Outcome<V::Value> {
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Outcome<V::Value> {
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Outcome<V::Value> {
        visitor.visit_borrowed_bytes(self.string(BYTES)?)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Outcome<V::Value> {
        visitor.visit_borrowed_bytes(self.string(BYTES)?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Outcome<V::Value> {
        // Of what is absent some types write this and others nothing.
        match self.rest.first() {
            Some(&NULL) => Err(NotSoSimple),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Outcome<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Outcome<V::Value> {
        self.elements(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Outcome<V::Value> {
        self.elements(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Outcome<V::Value> {
        self.fields(names, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Outcome<V::Value> {
        let is_map = self.rest.first().is_some_and(|first| first >> 5 == MAP);
        if is_map && self.head(MAP)? != 1 {
            return Err(NotSoSimple);
        }
        visitor.visit_enum(Variant {
            reader: self,
            has_content: is_map,
        })
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u128 f32 f64 char unit unit_struct tuple_struct map identifier ignored_any
    }
}

struct Elements<'r, 'de> {
    reader: &'r mut Reader<'de>,
    left: usize,
}

impl<'de> SeqAccess<'de> for Elements<'_, 'de> {
    type Error = NotSoSimple;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Outcome<Option<T::Value>> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        self.left = left;
        seed.deserialize(&mut *self.reader).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        // No more than there can be in what is left.
        Some(self.left.min(self.reader.rest.len()))
    }
}

struct Fields<'r, 'de> {
    reader: &'r mut Reader<'de>,
    /// Those that may still come, in their order.
    names: &'static [&'static str],
    left: usize,
}

impl<'de> MapAccess<'de> for Fields<'_, 'de> {
    type Error = NotSoSimple;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Outcome<Option<K::Value>> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        self.left = left;
        let name = self.reader.text()?;
        let place = self.names.iter().position(|known| *known == name);
        let (_, later) = place
            .and_then(|place| self.names.split_at_checked(place + 1))
            .ok_or(NotSoSimple)?;
        self.names = later;
        seed.deserialize(BorrowedStrDeserializer::new(name))
            .map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Outcome<V::Value> {
        seed.deserialize(&mut *self.reader)
    }
}

struct Variant<'r, 'de> {
    reader: &'r mut Reader<'de>,
    /// Whether its name stands in a map, before what it holds.
    has_content: bool,
}

impl<'de> EnumAccess<'de> for Variant<'_, 'de> {
    type Error = NotSoSimple;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Outcome<(V::Value, Self)> {
        let name = self.reader.text()?;
        let variant = seed.deserialize(BorrowedStrDeserializer::new(name))?;
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, 'de> {
    type Error = NotSoSimple;

    fn unit_variant(self) -> Outcome<()> {
        match self.has_content {
            false => Ok(()),
            true => Err(NotSoSimple),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Outcome<T::Value> {
        match self.has_content {
            true => seed.deserialize(self.reader),
            false => Err(NotSoSimple),
        }
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Outcome<V::Value> {
        match self.has_content {
            true => self.reader.elements(visitor),
            false => Err(NotSoSimple),
        }
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        names: &'static [&'static str],
        visitor: V,
    ) -> Outcome<V::Value> {
        match self.has_content {
            true => self.reader.fields(names, visitor),
            false => Err(NotSoSimple),
        }
    }
}

#[cfg(test)]
mod tests;
