//! A response that is encoded already.

use bytes::{Buf, BufMut, Bytes};
use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType};

/// The encoding of one whole response message, shared by all the streams that send it: cloning counts a reference.
///
/// A server answers with it in place of the message itself. Nothing checks that the bytes are that message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncodedFrame(pub Bytes);

impl EncodedFrame {
    /// Encodes a message.
    pub fn of(message: &impl prost::Message) -> Self {
        Self(message.encode_to_vec().into())
    }
}

impl prost::Message for EncodedFrame {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0);
    }

    /// Refuses: frames go out of a server, never into one.
    #[expect(deprecated, reason = "prost has no other constructor; it must not panic on what a peer sent")]
    fn merge_field(
        &mut self,
        _tag: u32,
        _wire_type: WireType,
        _buf: &mut impl Buf,
        _ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        Err(DecodeError::new("BUG: an encoded frame is only ever sent; decode the message itself"))
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::EncodedFrame;
    use crate::v1::{EventBatch, GitEvent, WatchEventsResponse, watch_events_response::Kind};

    fn response() -> WatchEventsResponse {
        let event = GitEvent { sequence: 7, ref_name: "refs/heads/main".to_owned(), ..GitEvent::default() };
        let batch = EventBatch { events: vec![event.clone(), event], cursor: "cursor".to_owned() };
        WatchEventsResponse { kind: Some(Kind::Events(batch)) }
    }

    #[test]
    fn a_frame_encodes_as_the_message_does() {
        let frame = EncodedFrame::of(&response());
        assert_eq!(frame.encoded_len(), response().encoded_len());
        assert_eq!(frame.encode_to_vec(), response().encode_to_vec());
        assert_eq!(frame.encode_length_delimited_to_vec(), response().encode_length_delimited_to_vec());
        assert_eq!(WatchEventsResponse::decode(frame.0), Ok(response()));
    }

    #[test]
    fn a_frame_is_not_decoded() {
        let bytes = response().encode_to_vec();
        let error = EncodedFrame::decode(bytes.as_slice()).expect_err("a frame only goes out");
        assert!(error.to_string().contains("BUG:"), "{error}");
    }

    #[test]
    fn a_cleared_frame_is_empty() {
        let mut frame = EncodedFrame::of(&response());
        frame.clear();
        assert_eq!(frame, EncodedFrame::default());
    }
}
