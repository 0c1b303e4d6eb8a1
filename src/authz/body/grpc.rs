//! gRPC messages, by the descriptors of their services.

use std::path::PathBuf;

use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value;

/// The services whose messages can be read: a `FileDescriptorSet`, as `protoc --include_imports --descriptor_set_out`
/// or `buf build` write it.
#[derive(Debug, Clone)]
pub struct Descriptors(DescriptorPool);

/// A file that holds no usable descriptors.
#[derive(Debug, thiserror::Error)]
#[error(
    "{path} holds no usable FileDescriptorSet: {source}; write one with `protoc --include_imports --descriptor_set_out`"
)]
pub struct InvalidDescriptors {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub source: prost_reflect::DescriptorError,
}

impl Descriptors {
    /// Reads what the file at `path` holds.
    ///
    /// # Errors
    /// When it is no FileDescriptorSet, or one that refers to files that are not in it.
    pub fn parse(path: PathBuf, bytes: &[u8]) -> Result<Self, InvalidDescriptors> {
        let pool = DescriptorPool::decode(bytes);
        pool.map(Self).map_err(|source| InvalidDescriptors { path, source })
    }

    /// How many services they describe.
    #[must_use]
    pub fn services(&self) -> usize {
        self.0.services().len()
    }

    /// The one message of a call, in the JSON form of Protocol Buffers, but 64-bit integers stay numbers and fields that
    /// have their default value are there.
    pub(super) fn read(
        &self,
        service: &str,
        method: &str,
        body: &[u8],
    ) -> Result<Value, &'static str> {
        let service = self.0.get_service_by_name(service);
        let method = service.and_then(|service| service.methods().find(|m| m.name() == method));
        let method = method.ok_or("the descriptors do not hold this gRPC method")?;
        if method.is_client_streaming() {
            return Err("the gRPC method takes a stream of messages");
        }
        let message = DynamicMessage::decode(method.input(), one_message(body)?);
        let message = message.map_err(|_| "the gRPC message is not what its descriptor says")?;
        let options =
            SerializeOptions::new().stringify_64_bit_integers(false).skip_default_fields(false);
        message
            .serialize_with_options(serde_json::value::Serializer, &options)
            .map_err(|_| "the gRPC message has no JSON form")
    }
}

/// Length-prefixed messages (the gRPC protocol over HTTP/2): exactly one, and it is not compressed.
fn one_message(body: &[u8]) -> Result<&[u8], &'static str> {
    let Some(([compressed, length @ ..], message)) = body.split_first_chunk::<5>() else {
        return Err("the body is no gRPC message");
    };
    match compressed {
        0 => {}
        1 => return Err("the gRPC message is compressed"),
        _ => return Err("the body is no gRPC message"),
    }
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    match message.len().cmp(&length) {
        std::cmp::Ordering::Equal => Ok(message),
        std::cmp::Ordering::Less => Err("the gRPC message is not whole"),
        std::cmp::Ordering::Greater => Err("the body holds more than one gRPC message"),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::field_descriptor_proto::{Label, Type};
    use prost_types::{
        DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
        MethodDescriptorProto, ServiceDescriptorProto,
    };
    use serde_json::json;

    use super::*;

    fn descriptors() -> Descriptors {
        let field = |name: &str, number, of: Type, label: Label| FieldDescriptorProto {
            name: Some(name.to_owned()),
            number: Some(number),
            r#type: Some(of.into()),
            label: Some(label.into()),
            ..FieldDescriptorProto::default()
        };
        let mut inner = field("inner", 4, Type::Message, Label::Optional);
        inner.type_name = Some(".shop.Order".to_owned());
        let method = |name: &str, streams| MethodDescriptorProto {
            name: Some(name.to_owned()),
            input_type: Some(".shop.Order".to_owned()),
            output_type: Some(".shop.Order".to_owned()),
            client_streaming: Some(streams),
            ..MethodDescriptorProto::default()
        };
        let file = FileDescriptorProto {
            name: Some("shop.proto".to_owned()),
            package: Some("shop".to_owned()),
            syntax: Some("proto3".to_owned()),
            message_type: vec![DescriptorProto {
                name: Some("Order".to_owned()),
                field: vec![
                    field("order_id", 1, Type::String, Label::Optional),
                    field("amount", 2, Type::Int64, Label::Optional),
                    field("tags", 3, Type::String, Label::Repeated),
                    inner,
                ],
                ..DescriptorProto::default()
            }],
            service: vec![ServiceDescriptorProto {
                name: Some("Orders".to_owned()),
                method: vec![method("Place", false), method("Upload", true)],
                ..ServiceDescriptorProto::default()
            }],
            ..FileDescriptorProto::default()
        };
        let set = FileDescriptorSet { file: vec![file] };
        Descriptors::parse("shop.pb".into(), &set.encode_to_vec()).unwrap()
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&[0][..], &length, message].concat()
    }

    #[test]
    fn a_message_is_read_by_its_descriptor() {
        let descriptors = descriptors();
        assert_eq!(descriptors.services(), 1);
        // order_id "7", amount 9007199254740993 (not exact as a double), a tag, and a field that nobody knows.
        let message = b"\x0a\x017\x10\x81\x80\x80\x80\x80\x80\x80\x10\x1a\x01a\x78\x05";
        let expected = json!({
            "orderId": "7", "amount": 9_007_199_254_740_993_i64, "tags": ["a"],
        });
        assert_eq!(descriptors.read("shop.Orders", "Place", &framed(message)), Ok(expected));
        let empty = json!({ "orderId": "", "amount": 0, "tags": [] });
        assert_eq!(descriptors.read("shop.Orders", "Place", &framed(b"")), Ok(empty));
        // The last of a field counts, to every reader.
        let twice = descriptors.read("shop.Orders", "Place", &framed(b"\x10\x01\x10\x02"));
        assert_eq!(twice.unwrap()["amount"], 2);
    }

    #[test]
    fn anything_but_one_plain_message_is_unreadable() {
        let descriptors = descriptors();
        let read = |body: &[u8]| descriptors.read("shop.Orders", "Place", body);
        let gzip = [&[1, 0, 0, 0, 2][..], b"\x1f\x8b"].concat();
        for (body, fault) in [
            (gzip, "the gRPC message is compressed"),
            (Vec::new(), "the body is no gRPC message"),
            (vec![0, 0, 0], "the body is no gRPC message"),
            (vec![2, 0, 0, 0, 0], "the body is no gRPC message"),
            (vec![0, 0, 0, 0, 2, 8], "the gRPC message is not whole"),
            (vec![0, 0xff, 0xff, 0xff, 0xff], "the gRPC message is not whole"),
            ([framed(b""), framed(b"")].concat(), "the body holds more than one gRPC message"),
            (framed(b"\xff"), "the gRPC message is not what its descriptor says"),
            (framed(b"\x0a\x01\xff"), "the gRPC message is not what its descriptor says"),
            (framed(b"\x08\x01"), "the gRPC message is not what its descriptor says"),
        ] {
            assert_eq!(read(&body), Err(fault), "{body:?}");
        }
        // A message inside a message inside a message ...
        let mut deep = Vec::new();
        for _ in 0..2000 {
            let mut outer = vec![0x22];
            prost::encoding::encode_varint(u64::try_from(deep.len()).unwrap(), &mut outer);
            outer.extend_from_slice(&deep);
            deep = outer;
        }
        assert!(read(&framed(&deep)).is_err());
        for (service, method) in [
            ("shop.Orders", "place"),
            ("shop.Other", "Place"),
            ("Orders", "Place"),
            ("shop.Orders", "Upload"),
        ] {
            assert!(descriptors.read(service, method, &framed(b"")).is_err(), "{service}/{method}");
        }
    }

    #[test]
    fn a_file_without_descriptors_is_named() {
        let error = Descriptors::parse("shop.proto".into(), b"syntax = \"proto3\";").unwrap_err();
        assert!(error.to_string().starts_with("shop.proto holds no usable FileDescriptorSet"));
    }
}
