//! What a client can hold, and for how long.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use refwatch_ops::{Drain, Limits};

use crate::harness::{DEADLINE, Server};

const SHORT: Duration = Duration::from_millis(200);

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Reads until the server hangs up.
fn rest(mut stream: &TcpStream) -> String {
    let mut read = Vec::new();
    match stream.read_to_end(&mut read) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => {
            panic!("the server did not hang up: {error}")
        }
        _ => String::from_utf8(read).unwrap(),
    }
}

fn ask(mut stream: &TcpStream, headers: &str) {
    write!(stream, "GET /livez HTTP/1.1\r\nHost: x\r\n{headers}\r\n").unwrap();
}

/// Asks and reads one answer, so that the server certainly holds the connection.
fn answered(stream: &TcpStream) {
    ask(stream, "");
    let mut first = [0; 12];
    { stream }.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
}

#[test]
fn oversized_headers_are_refused() {
    let server = Server::start();
    for headers in [format!("X: {}\r\n", "x".repeat(20_000)), "X: x\r\n".repeat(100)] {
        let stream = connect(&server);
        ask(&stream, &headers);
        let answer = rest(&stream);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    assert_eq!(server.get("/livez").code, 200);
}

#[test]
fn a_client_that_dawdles_is_hung_up_on() {
    let server = Server::with_limits(Limits { header_read: SHORT, ..Limits::default() });
    let silent = connect(&server);
    let halfway = connect(&server);
    { &halfway }.write_all(b"GET /livez HTTP/1.1\r\nHost:").unwrap();
    let idle = connect(&server);
    answered(&idle);
    for stream in [silent, halfway, idle] {
        rest(&stream);
    }
}

#[test]
fn an_old_connection_is_closed() {
    let server = Server::with_limits(Limits { connection_age: SHORT, ..Limits::default() });
    let stream = connect(&server);
    answered(&stream);
    rest(&stream);
}

#[test]
fn a_connection_too_many_waits_for_its_turn() {
    let server = Server::with_limits(Limits { connections_max: 1, ..Limits::default() });
    let first = connect(&server);
    answered(&first);
    let second = connect(&server);
    ask(&second, "Connection: close\r\n");
    second.set_read_timeout(Some(SHORT)).unwrap();
    let waiting = { &second }.read(&mut [0]).unwrap_err();
    assert!(matches!(waiting.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{waiting}");
    drop(first);
    second.set_read_timeout(Some(DEADLINE)).unwrap();
    assert!(rest(&second).starts_with("HTTP/1.1 200"));
}

#[test]
fn shutdown_closes_idle_connections_at_once() {
    let mut server = Server::with_limits(Limits { drain: DEADLINE, ..Limits::default() });
    let idle = connect(&server);
    answered(&idle);
    let began = Instant::now();
    assert_eq!(server.stopped(), Drain::Complete);
    assert!(began.elapsed() < DEADLINE);
    rest(&idle);
    assert!(TcpStream::connect(server.address).is_err());
}

#[test]
fn shutdown_does_not_wait_for_ever() {
    let mut server = Server::with_limits(Limits { drain: SHORT, ..Limits::default() });
    let stuck = connect(&server);
    { &stuck }.write_all(b"GET /livez HTTP/1.1\r\nHost:").unwrap();
    // Another answer proves that the server has taken up the first connection too.
    answered(&connect(&server));
    assert_eq!(server.stopped(), Drain::Cut { connections: 1 });
}
