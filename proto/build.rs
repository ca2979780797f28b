//! Compiles the contract, without protoc: messages and clients once, servers once more with pre-encoded responses.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost::Message;
use tonic_prost_build::{Config, FileDescriptorSet};

const FILES: [&str; 3] = ["refwatch/v1/event.proto", "refwatch/v1/service.proto", "refwatch/v1/ingest.proto"];

/// Not of the contract: another's format, which events can be put into.
const CLOUDEVENTS: &str = "io/cloudevents/v1/cloudevents.proto";

/// Responses that a server hands over as bytes: `crate::EncodedFrame`.
const ENCODED: [&str; 2] = ["WatchEventsResponse", "ListEventsResponse"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=refwatch");
    println!("cargo:rerun-if-changed=io");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let descriptors = protox::compile(FILES, ["."])?;
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    messages_and_clients(&out, descriptors.clone())?;
    servers(&out, descriptors)?;
    let cloudevents = protox::compile([CLOUDEVENTS], ["."])?;
    let builder = tonic_prost_build::configure().build_client(false).build_server(false);
    Ok(builder.out_dir(&out).compile_fds(cloudevents)?)
}

fn messages_and_clients(out: &Path, descriptors: FileDescriptorSet) -> Result<(), Box<dyn Error>> {
    let mut config = Config::new();
    config.enable_type_names();
    let out = folder(out, "messages")?;
    Ok(tonic_prost_build::configure()
        .build_server(false)
        // Channels are the feature `client`'s; a client here takes any service.
        .build_transport(false)
        .out_dir(out)
        .compile_fds_with_config(descriptors, config)?)
}

fn servers(out: &Path, descriptors: FileDescriptorSet) -> Result<(), Box<dyn Error>> {
    let out = folder(out, "servers")?;
    let mut builder = tonic_prost_build::configure()
        .build_client(false)
        .build_transport(false)
        .extern_path(".refwatch.v1", "crate::v1");
    for name in ENCODED {
        builder = builder.extern_path(format!(".refwatch.v1.{name}"), "crate::EncodedFrame");
    }
    Ok(builder.out_dir(out).compile_fds(descriptors)?)
}

fn folder(out: &Path, name: &str) -> Result<PathBuf, Box<dyn Error>> {
    let path = out.join(name);
    fs::create_dir_all(&path)?;
    Ok(path)
}
