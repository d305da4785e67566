//! What a Hub and a node say to each other, made small.
//!
//! Plans and short answers are mostly names and framing, which repeat. What either side sends at a
//! time is compressed as one, by what it said just before: `LENGTH (4 bytes, big endian) | zstd frame`.
//! Both sides are of the same version, for others are not asked, so that there is nothing to
//! negotiate.
use std::cell::RefCell;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::FutureExt;
use futures::future::BoxFuture;
use http_body::Frame;
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

use crate::fleet::Channel;

/// Compressed bytes that went over the wire.
pub(crate) type Moved = Arc<AtomicU64>;

/// A channel to a node: requests are packed, responses unpacked, and both are counted.
pub(crate) fn channel(inner: Channel, moved: Moved) -> Channel {
    Channel::new(Client { inner, moved })
}

#[derive(Clone)]
struct Client {
    inner: Channel,
    moved: Moved,
}

impl Service<http::Request<Body>> for Client {
    type Response = http::Response<Body>;
    type Error = tonic::transport::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let moved = Arc::clone(&self.moved);
        let request = request.map(|it| Body::new(Packed::new(it, Arc::clone(&moved))));
        let answer = self.inner.call(request);
        async move { Ok(answer.await?.map(|it| Body::new(Unpacked::new(it, moved)))) }.boxed()
    }
}

/// A node's service: requests are unpacked, responses packed.
#[derive(Clone)]
pub(crate) struct Server<S>(pub(crate) S);

impl<S: NamedService> NamedService for Server<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Server<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let request = request.map(|it| Body::new(Unpacked::new(it, Moved::default())));
        let answer = self.0.call(request);
        async move { Ok(answer.await?.map(|it| Body::new(Packed::new(it, Moved::default())))) }
            .boxed()
    }
}

/// A body on its way out. What is there at a time becomes one piece, in however many frames it
/// comes: each alone would be packed worse, and how they come is a matter of chance.
struct Packed {
    inner: Body,
    /// What was taken from `inner` and waits to be packed.
    left: BytesMut,
    said: Said,
    /// What comes after it, once that is known; None within: nothing.
    end: Option<Option<Result<Frame<Bytes>, Status>>>,
    moved: Moved,
}

impl Packed {
    fn new(inner: Body, moved: Moved) -> Self {
        Self { inner, left: BytesMut::new(), said: Said::default(), end: None, moved }
    }

    /// Takes what is there, up to a piece.
    fn gather(&mut self, cx: &mut Context<'_>) {
        while self.end.is_none() && self.left.len() < PIECE_BYTES {
            let frame = http_body::Body::poll_frame(Pin::new(&mut self.inner), cx);
            let Poll::Ready(frame) = frame else { return };
            match frame.map(|it| it.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => self.left.extend_from_slice(&data),
                Some(Ok(Err(trailers))) => self.end = Some(Some(Ok(trailers))),
                Some(Err(error)) => self.end = Some(Some(Err(error))),
                None => self.end = Some(None),
            }
        }
    }
}

impl http_body::Body for Packed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.gather(cx);
        if self.left.is_empty() {
            let Some(end) = self.end.take() else { return Poll::Pending };
            self.end = Some(None);
            return Poll::Ready(end);
        }
        let n = self.left.len().min(PIECE_BYTES);
        let piece = self.left.split_to(n);
        let packed = pack(&self.said, &piece);
        let packed = packed.map_err(|it| Status::internal(format!("packing: {it}")))?;
        self.said.add(&piece);
        self.moved.fetch_add(packed.len() as u64, Relaxed);
        Poll::Ready(Some(Ok(Frame::data(packed))))
    }

    fn is_end_stream(&self) -> bool {
        let ended = match &self.end {
            Some(end) => end.is_none(),
            None => self.inner.is_end_stream(),
        };
        self.left.is_empty() && ended
    }
}

/// A body on its way in.
struct Unpacked {
    inner: Body,
    /// What came and is no whole piece yet: one piece at most, and what came with its end.
    held: BytesMut,
    said: Said,
    moved: Moved,
}

impl Unpacked {
    fn new(inner: Body, moved: Moved) -> Self {
        Self { inner, held: BytesMut::new(), said: Said::default(), moved }
    }

    /// The next piece, if it is there.
    fn piece(&mut self) -> Result<Option<Bytes>, Status> {
        let Some(length) = self.held.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        if length > zstd::zstd_safe::compress_bound(PIECE_BYTES) {
            return Err(Status::internal(format!("a piece of {length} bytes is too long")));
        }
        if self.held.len() < LENGTH_BYTES + length {
            return Ok(None);
        }
        self.held.advance(LENGTH_BYTES);
        let packed = self.held.split_to(length);
        let piece = unpack(&self.said, &packed);
        let piece = piece.map_err(|it| Status::internal(format!("unpacking: {it}")))?;
        self.said.add(&piece);
        Ok(Some(piece))
    }
}

impl http_body::Body for Unpacked {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            match self.piece() {
                Ok(Some(piece)) => return Poll::Ready(Some(Ok(Frame::data(piece)))),
                Ok(None) => {}
                Err(error) => {
                    // What follows can't be told apart any more.
                    self.held.clear();
                    self.inner = Body::empty();
                    return Poll::Ready(Some(Err(error)));
                }
            }
            let frame = match Pin::new(&mut self.inner).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(None) if !self.held.is_empty() => {
                    let cut = Status::internal("what was sent is cut short");
                    self.held.clear();
                    return Poll::Ready(Some(Err(cut)));
                }
                other => return other,
            };
            match frame.into_data() {
                Ok(data) => {
                    self.moved.fetch_add(data.len() as u64, Relaxed);
                    self.held.put(data);
                }
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_empty() && self.inner.is_end_stream()
    }
}

/// The last of what a body said, by which the next piece is packed. A piece alone would have to say
/// everything anew, and where pieces begin is a matter of chance.
#[derive(Default)]
struct Said(Vec<u8>);

impl Said {
    fn add(&mut self, piece: &[u8]) {
        if self.0.is_empty() {
            // Zstandard takes what begins with a certain number for a trained dictionary; nothing that
            // begins with a zero is one.
            self.0.push(0);
        }
        let piece = piece.get(piece.len().saturating_sub(SAID_BYTES)..).unwrap_or(piece);
        let excess = (self.0.len() - 1 + piece.len()).saturating_sub(SAID_BYTES);
        self.0.drain(1..1 + excess);
        self.0.extend_from_slice(piece);
    }
}

thread_local! {
    // A context takes up to a megabyte and some time to make: one a thread.
    static PACKER: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
    static UNPACKER: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

fn pack(said: &Said, piece: &[u8]) -> std::io::Result<Bytes> {
    PACKER.with_borrow_mut(|packer| {
        let packer = match packer {
            Some(it) => it,
            none => none.insert(zstd::bulk::Compressor::new(LEVEL)?),
        };
        let level = if piece.len() <= SHORT_BYTES { SHORT_LEVEL } else { LEVEL };
        packer.set_dictionary(level, &said.0)?;
        let mut packed = vec![0; LENGTH_BYTES + zstd::zstd_safe::compress_bound(piece.len())];
        let (length, body) = packed.split_at_mut(LENGTH_BYTES);
        let n = packer.compress_to_buffer(piece, body)?;
        length.copy_from_slice(&u32::try_from(n).unwrap_or(u32::MAX).to_be_bytes());
        packed.truncate(LENGTH_BYTES + n);
        packed.shrink_to_fit();
        Ok(packed.into())
    })
}

fn unpack(said: &Said, packed: &[u8]) -> std::io::Result<Bytes> {
    UNPACKER.with_borrow_mut(|unpacker| {
        let unpacker = match unpacker {
            Some(it) => it,
            none => none.insert(zstd::bulk::Decompressor::new()?),
        };
        unpacker.set_dictionary(&said.0)?;
        // The frame says how large it becomes; what it says is not believed beyond a piece.
        let size = zstd::zstd_safe::get_frame_content_size(packed).ok().flatten();
        let size = size.and_then(|it| usize::try_from(it).ok()).unwrap_or(PIECE_BYTES);
        Ok(unpacker.decompress(packed, size.min(PIECE_BYTES))?.into())
    })
}

const LENGTH_BYTES: usize = 4;
/// What is packed at a time, at most: what a piece can make the other side allocate.
const PIECE_BYTES: usize = 1 << 20;
/// What a body said last, so much of it: enough for names and framing, little for a thousand nodes.
const SAID_BYTES: usize = 32 << 10;
/// Zstandard's default: rows are packed at hundreds of megabytes a second.
const LEVEL: i32 = 3;
/// Plans and short answers are: well packed in about a millisecond.
const SHORT_BYTES: usize = 32 << 10;
const SHORT_LEVEL: i32 = 12;

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;

    /// A body of those pieces.
    struct Pieces(std::vec::IntoIter<Bytes>);

    impl http_body::Body for Pieces {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Ready(self.0.next().map(|it| Ok(Frame::data(it))))
        }
    }

    fn read(
        mut body: impl http_body::Body<Data = Bytes, Error = Status> + Unpin,
    ) -> Result<Vec<u8>, Status> {
        let frames = futures::stream::poll_fn(move |cx| Pin::new(&mut body).poll_frame(cx));
        let frames = futures::executor::block_on(frames.collect::<Vec<_>>());
        let mut all = Vec::new();
        for frame in frames {
            all.extend_from_slice(&frame?.into_data().unwrap());
        }
        Ok(all)
    }

    fn body(pieces: Vec<Bytes>) -> Body {
        Body::new(Pieces(pieces.into_iter()))
    }

    #[test]
    fn what_is_packed_comes_out_however_it_is_cut() {
        let text = (0..500_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>();
        let pieces = [&text[..10], &[], &text[10..11], &text[11..]];
        let pieces = pieces.map(Bytes::copy_from_slice).to_vec();
        let packed = read(Packed::new(body(pieces), Moved::default())).unwrap();
        for step in [7, 4096, packed.len()] {
            let parts = packed.chunks(step).map(Bytes::copy_from_slice).collect();
            let moved = Moved::default();
            let unpacked = Unpacked::new(body(parts), Arc::clone(&moved));
            assert!(read(unpacked).unwrap() == text);
            assert_eq!(moved.load(Relaxed), packed.len() as u64);
        }
    }

    #[test]
    fn what_is_there_at_a_time_is_packed_as_one() {
        let pieces = (0..100_u8).map(|it| Bytes::from(vec![it; 10])).collect::<Vec<_>>();
        let whole = pack(&Said::default(), &pieces.concat()).unwrap();
        assert!(read(Packed::new(body(pieces), Moved::default())).unwrap() == whole);
    }

    #[test]
    fn what_was_said_before_is_not_said_again() {
        // What would be taken for a trained dictionary is not.
        let text = [&[0x37, 0xa4, 0x30, 0xec][..], &(0..=255).collect::<Vec<_>>()].concat();
        let mut said = Said::default();
        said.add(&vec![7; SAID_BYTES - 10]);
        for _ in 0..200 {
            said.add(&text);
            let packed = pack(&said, &text).unwrap();
            assert!(packed.len() < 40, "{} bytes", packed.len());
            assert!(unpack(&said, &packed[LENGTH_BYTES..]).unwrap() == text);
            assert_eq!(said.0.len(), SAID_BYTES + 1);
        }
        said.add(&vec![8; 2 * SAID_BYTES]);
        assert!(said.0[0] == 0 && said.0[1..].iter().all(|it| *it == 8));
    }

    #[test]
    fn what_is_cut_short_damaged_or_too_long_is_an_error() {
        let packed = pack(&Said::default(), b"some text, some text, some text, some text").unwrap();
        let fails = |bytes: Vec<u8>| {
            read(Unpacked::new(body(vec![bytes.into()]), Moved::default())).is_err()
        };
        assert!(fails(packed[..packed.len() - 1].to_vec()));
        assert!(fails([&[0xff; 4][..], &packed[4..]].concat()));
        let mut damaged = packed.to_vec();
        damaged[5] ^= 0xff;
        assert!(fails(damaged));
        // A frame that becomes larger than a piece may be.
        let bomb = zstd::bulk::compress(&vec![0; PIECE_BYTES + 1], 3).unwrap();
        let length = (bomb.len() as u32).to_be_bytes();
        assert!(fails([&length[..], &bomb].concat()));
    }
}
