//! A DER value as a tree that can be changed field by field: tags, contents, order, repetition, lengths; and what somebody signed, changed
//! in that way and signed again.

use ed25519_dalek::{Signer, SigningKey};

/// Deepest nesting that is followed.
const DEEPEST: usize = 12;

/// One element: its tag, and what is in it.
#[derive(Clone, Debug)]
pub(crate) struct Element {
    pub(crate) tag: u8,
    pub(crate) content: Content,
    /// Written with a length of one byte more than needed.
    long: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Content {
    Bytes(Vec<u8>),
    Elements(Vec<Element>),
}

impl Element {
    /// Reads one element that fills `bytes`.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (elements, rest) = read_all(bytes, 0)?;
        match (<[Element; 1]>::try_from(elements), rest) {
            (Ok([element]), []) => Some(element),
            _ => None,
        }
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let mut content = Vec::new();
        match &self.content {
            Content::Bytes(bytes) => content.extend_from_slice(bytes),
            Content::Elements(elements) => {
                elements.iter().for_each(|one| one.write(&mut content));
            }
        }
        out.push(self.tag);
        let length = content.len();
        match (length, self.long) {
            (0..0x80, false) => out.push(length as u8),
            (0..0x80, true) => out.extend([0x81, length as u8]),
            (0x80..0x100, false) => out.extend([0x81, length as u8]),
            (_, false) => out.extend([0x82, (length >> 8) as u8, length as u8]),
            (_, true) => out.extend([0x83, 0, (length >> 8) as u8, length as u8]),
        }
        out.extend(content);
    }

    /// How many elements there are, this one included.
    pub(crate) fn count(&self) -> usize {
        match &self.content {
            Content::Bytes(_) => 1,
            Content::Elements(elements) => 1 + elements.iter().map(Self::count).sum::<usize>(),
        }
    }

    /// Element `place` in the order of reading; 0 is this one.
    fn at(&mut self, place: usize) -> Option<&mut Self> {
        if place == 0 {
            return Some(self);
        }
        let Content::Elements(elements) = &mut self.content else {
            return None;
        };
        let mut before = 1;
        for element in elements {
            let count = element.count();
            if place < before + count {
                return element.at(place - before);
            }
            before += count;
        }
        None
    }

    /// One change: what, where, with what.
    pub(crate) fn change(&mut self, what: u8, place: u8, value: u8) {
        let place = usize::from(place) % self.count();
        let Some(element) = self.at(place) else {
            return;
        };
        match (what % 9, &mut element.content) {
            (0, _) => element.tag = value,
            (1, Content::Bytes(bytes)) => bytes.push(value),
            (2, Content::Bytes(bytes)) => drop(bytes.pop()),
            (3, Content::Bytes(bytes)) => {
                let length = bytes.len().max(1);
                if let Some(byte) = bytes.get_mut(usize::from(value) % length) {
                    *byte ^= 1 << (value % 8);
                }
            }
            (4, Content::Bytes(bytes)) => bytes.clear(),
            (5, Content::Bytes(bytes)) => bytes.insert(0, value),
            (1, Content::Elements(elements)) => {
                if let Some(element) = pick(elements, value).cloned() {
                    elements.push(element);
                }
            }
            (2 | 4, Content::Elements(elements)) if !elements.is_empty() => {
                let at = usize::from(value) % elements.len();
                elements.remove(at);
            }
            (3 | 5, Content::Elements(elements)) if elements.len() > 1 => {
                let at = usize::from(value) % (elements.len() - 1);
                elements.swap(at, at + 1);
            }
            (6, _) => element.long = !element.long,
            (7, content) => *content = Content::Bytes(vec![value; usize::from(value % 40)]),
            (8, Content::Elements(elements)) => elements.push(Element {
                tag: value,
                content: Content::Bytes(vec![value]),
                long: false,
            }),
            _ => {}
        }
    }
}

/// A signed value with some of its fields changed, three bytes a change, and signed again by the same key.
pub(crate) fn changed_and_signed_again(signed: &[u8], changes: &[u8], key: &SigningKey) -> Vec<u8> {
    signed_again(signed, key, |part| {
        for change in changes.as_chunks::<3>().0.iter().take(8) {
            part.change(change[0], change[1], change[2]);
        }
    })
}

/// A signed value (a sequence of what is signed, the algorithm, and the signature) of which that is changed which is signed, and signed again.
pub(crate) fn signed_again(
    signed: &[u8],
    key: &SigningKey,
    change: impl FnOnce(&mut Element),
) -> Vec<u8> {
    let mut value = Element::read(signed).unwrap();
    let Content::Elements(parts) = &mut value.content else {
        unreachable!("what is signed is in a sequence")
    };
    change(&mut parts[0]);
    let mut to_be_signed = Vec::new();
    parts[0].write(&mut to_be_signed);
    let mut signature = vec![0];
    signature.extend(key.sign(&to_be_signed).to_bytes());
    parts[2].content = Content::Bytes(signature);
    let mut bytes = Vec::new();
    value.write(&mut bytes);
    bytes
}

fn pick(elements: &[Element], value: u8) -> Option<&Element> {
    elements.get(usize::from(value) % elements.len().max(1))
}

fn read_all(mut bytes: &[u8], depth: usize) -> Option<(Vec<Element>, &[u8])> {
    let mut elements = Vec::new();
    while let [tag, length, rest @ ..] = bytes {
        let (length, rest) = match length {
            0..=0x7f => (usize::from(*length), rest),
            0x81 => (usize::from(*rest.first()?), rest.get(1..)?),
            0x82 => (
                usize::from(*rest.first()?) << 8 | usize::from(*rest.get(1)?),
                rest.get(2..)?,
            ),
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        // Octet strings of extensions hold an element of their own.
        let inner = (tag & 0x20 != 0 || *tag == 0x04)
            .then(|| read_all(content, depth + 1))
            .flatten()
            .filter(|(inner, rest)| depth < DEEPEST && rest.is_empty() && !inner.is_empty());
        elements.push(Element {
            tag: *tag,
            content: match inner {
                Some((inner, _)) => Content::Elements(inner),
                None => Content::Bytes(content.to_vec()),
            },
            long: false,
        });
        bytes = rest;
    }
    Some((elements, bytes))
}
