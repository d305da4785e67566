//! Protocol Buffers without their schema: fields by number, as far as bytes tell what they are.

use super::Node;

/// The fields of a message; nothing if the bytes are none, or too few to be sure.
pub(crate) fn protobuf(bytes: &[u8]) -> Option<Node> {
    let mut left = MOST_FIELDS;
    (2..=MOST_BYTES).contains(&bytes.len()).then(|| message(bytes, 0, &mut left)).flatten()
}

fn message(bytes: &[u8], depth: usize, left: &mut usize) -> Option<Node> {
    if depth > MOST_DEPTH || bytes.is_empty() {
        return None;
    }
    let mut fields = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        *left = left.checked_sub(1)?;
        let (tag, after) = varint(rest)?;
        let number = tag >> 3;
        if !(1..=MOST_NUMBER).contains(&number) {
            return None;
        }
        let (node, after) = match tag & 7 {
            0 => {
                let (value, after) = varint(after)?;
                (Node::Plain(value.to_string()), after)
            }
            1 => {
                let (value, after) = after.split_first_chunk::<8>()?;
                (float(f64::from_le_bytes(*value), u64::from_le_bytes(*value)), after)
            }
            5 => {
                let (value, after) = after.split_first_chunk::<4>()?;
                let bits = u32::from_le_bytes(*value);
                (float(f64::from(f32::from_bits(bits)), bits.into()), after)
            }
            2 => {
                let (length, after) = varint(after)?;
                let (value, after) = after.split_at_checked(usize::try_from(length).ok()?)?;
                (piece(value, depth, left), after)
            }
            // groups are long gone, and the rest never was
            _ => return None,
        };
        fields.push((number.to_string(), node));
        rest = after;
    }
    Some(Node::Object(fields))
}

/// A text, a message within, or bytes.
fn piece(bytes: &[u8], depth: usize, left: &mut usize) -> Node {
    let text = std::str::from_utf8(bytes).ok();
    if let Some(text) =
        text.filter(|it| !it.chars().any(|it| it.is_control() && !"\t\r\n".contains(it)))
    {
        return Node::Text(text.to_owned());
    }
    let mut tried = *left;
    if let Some(inner) = message(bytes, depth + 1, &mut tried) {
        *left = tried;
        return inner;
    }
    let hex: Vec<String> = bytes.iter().take(32).map(|it| format!("{it:02x}")).collect();
    let dots = if bytes.len() > 32 { " …" } else { "" };
    Node::Plain(format!("{}{dots}", hex.join(" ")))
}

/// Eight or four bytes are a number with a point, if that is one that people write.
fn float(value: f64, bits: u64) -> Node {
    let size = value.abs();
    let is_likely = value == 0.0 || (1e-9..1e15).contains(&size);
    Node::Plain(if is_likely { value.to_string() } else { bits.to_string() })
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f).checked_shl(u32::try_from(at).ok()? * 7)?;
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(at + 1..)?));
        }
    }
    None
}

const MOST_BYTES: usize = 1 << 20;
const MOST_FIELDS: usize = 3_000;
const MOST_DEPTH: usize = 20;
/// Real messages number their fields from one on; what has large numbers is something else, as a rule.
const MOST_NUMBER: u64 = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_told_by_number() {
        // 1: 150, 2: "tea", 3: { 1: 2, 1: 3 }, 4: 1.5 (double)
        let mut bytes =
            vec![0x08, 0x96, 0x01, 0x12, 3, b't', b'e', b'a', 0x1a, 4, 8, 2, 8, 3, 0x21];
        bytes.extend(1.5_f64.to_le_bytes());
        let plain = |text: &str| Node::Plain(text.to_owned());
        let inner = Node::Object(vec![("1".into(), plain("2")), ("1".into(), plain("3"))]);
        assert_eq!(
            protobuf(&bytes),
            Some(Node::Object(vec![
                ("1".into(), plain("150")),
                ("2".into(), Node::Text("tea".into())),
                ("3".into(), inner),
                ("4".into(), plain("1.5")),
            ]))
        );
    }

    #[test]
    fn what_is_none_is_nothing_and_nothing_is_read_too_far() {
        let deep: Vec<u8> = (0..2_000).flat_map(|_| [0x0a, 0x7f]).collect();
        for bytes in
            [&b""[..], b"\x08", b"\x12\xff\xff\xff\xff\x0f", b"\x0b\x0c", b"\x00\x00", &deep]
        {
            assert_eq!(protobuf(bytes), None, "{bytes:02x?}");
        }
        protobuf(&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
    }
}
