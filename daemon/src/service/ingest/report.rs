//! One report, checked field by field.

use std::net::SocketAddr;

use refwatch_core::event::Extra;
use refwatch_core::refuse::Refusal;
use refwatch_core::{ObjectFormat, ObjectId, RefName, Target};
use refwatch_proto::{limits, v1};

use crate::status::Failure;

/// Checks a report about a repository of this object format. `field` is where the report stands, such as
/// `reports[3]`.
///
/// # Errors
/// [`Failure`] that names the field, such as `reports[3].old_oid`.
pub(super) fn check(
    field: &str,
    report: v1::RejectionReport,
    format: ObjectFormat,
) -> Result<Refusal, Failure> {
    let name = name(field, &report)?;
    let old = oid(&format!("{field}.old_oid"), &report.old_oid, format)?;
    let new = oid(&format!("{field}.new_oid"), &report.new_oid, format)?;
    if old.is_none() && new.is_none() {
        return Err(invalid(
            format!("{field}.new_oid"),
            &report.new_oid,
            "and old_oid name no object: nothing was asked for",
        ));
    }
    let mut extra = Extra::default();
    put_rejection(field, report.rejection.unwrap_or_default(), &mut extra)?;
    if let Some(actor) = report.actor {
        put_actor(field, actor, &mut extra)?;
    }
    push_options(field, &report.push_options)?;
    extra.push_options = report.push_options;
    Ok(Refusal { name, old: old.map(Target::Direct), new: new.map(Target::Direct), extra })
}

fn invalid(field: String, value: &str, detail: impl Into<String>) -> Failure {
    Failure::Invalid { field, value: value.to_owned(), detail: detail.into() }
}

/// Fails for a text of more bytes than that.
fn bytes(field: &str, len: usize, bytes_max: usize) -> Result<(), Failure> {
    Failure::bounds(field, len as u64, 0, bytes_max as u64)
}

fn name(field: &str, report: &v1::RejectionReport) -> Result<RefName, Failure> {
    let (field, name) = if report.ref_name_bytes.is_empty() {
        (format!("{field}.ref_name"), report.ref_name.as_bytes())
    } else {
        (format!("{field}.ref_name_bytes"), report.ref_name_bytes.as_slice())
    };
    bytes(&field, name.len(), limits::NAME_BYTES_MAX)?;
    RefName::new(name)
        .map_err(|error| invalid(field, &String::from_utf8_lossy(name), format!("is no ref name: {error}")))
}

/// The object that a text names; `None` for an empty one and for all zeroes.
fn oid(field: &str, text: &str, format: ObjectFormat) -> Result<Option<ObjectId>, Failure> {
    if text.is_empty() || text == format.zero_hex() {
        return Ok(None);
    }
    let fits = text.len() == format.hex_len();
    match ObjectId::from_hex(text.as_bytes()) {
        Ok(oid) if fits => Ok(Some(oid)),
        Ok(_) | Err(_) => {
            let detail = format!(
                "is no object id of its repository, which has {} hexadecimal digits ({})",
                format.hex_len(),
                format.as_str()
            );
            Err(invalid(field.to_owned(), text, detail))
        }
    }
}

fn put_rejection(field: &str, rejection: v1::Rejection, extra: &mut Extra) -> Result<(), Failure> {
    let known = v1::RejectionStage::try_from(rejection.stage).ok();
    let Some(stage) = known.and_then(|stage| u8::try_from(i32::from(stage)).ok()) else {
        let detail = "is not one of the values that this server knows";
        return Err(invalid(format!("{field}.rejection.stage"), &rejection.stage.to_string(), detail));
    };
    let reason_field = format!("{field}.rejection.reason");
    bytes(&reason_field, rejection.reason.len(), limits::REJECTION_REASON_BYTES_MAX)?;
    if !is_token(&rejection.reason) {
        let detail =
            "is not in UPPER_SNAKE_CASE, such as HOOK_DECLINED; what is for people goes into message";
        return Err(invalid(reason_field, &rejection.reason, detail));
    }
    let message_field = format!("{field}.rejection.message");
    bytes(&message_field, rejection.message.len(), limits::REJECTION_MESSAGE_BYTES_MAX)?;
    extra.stage = Some(stage);
    extra.reason = given(rejection.reason);
    extra.message = given(rejection.message);
    Ok(())
}

/// True for words of capitals and digits joined by single underscores, the first of which begins with a letter; also
/// for nothing.
fn is_token(reason: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
    };
    reason.is_empty()
        || (reason.starts_with(|first: char| first.is_ascii_uppercase()) && reason.split('_').all(is_word))
}

fn put_actor(field: &str, actor: v1::Actor, extra: &mut Extra) -> Result<(), Failure> {
    let v1::Actor { name, source, remote_address } = actor;
    bytes(&format!("{field}.actor.name"), name.len(), limits::ACTOR_NAME_BYTES_MAX)?;
    bytes(&format!("{field}.actor.source"), source.len(), limits::ACTOR_SOURCE_BYTES_MAX)?;
    let address_field = format!("{field}.actor.remote_address");
    bytes(&address_field, remote_address.len(), limits::ACTOR_SOURCE_BYTES_MAX)?;
    if remote_address.parse::<SocketAddr>().is_ok() {
        return Err(invalid(address_field, &remote_address, "has a port; give the address alone"));
    }
    extra.actor = Some(name);
    extra.actor_source = given(source);
    extra.actor_address = given(remote_address);
    Ok(())
}

fn push_options(field: &str, options: &[String]) -> Result<(), Failure> {
    let field = format!("{field}.push_options");
    Failure::bounds(&field, options.len() as u64, 0, limits::PUSH_OPTIONS_MAX as u64)?;
    bytes(&field, options.iter().map(String::len).sum(), limits::PUSH_OPTIONS_BYTES_MAX)
}

fn given(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests;
