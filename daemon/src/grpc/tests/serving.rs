//! Health, reflection and what else a server answers.

use prost::Message as _;
use refwatch_proto::v1;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};
use tonic_reflection::pb::v1alpha;

use super::harness::*;

#[tokio::test]
async fn health_follows_readiness() {
    let harness = Harness::start().await;
    harness.ready.pending();
    let mut client = HealthClient::new(harness.channel().await);
    for service in ["", "refwatch.v1.GitEventService", "refwatch.v1.IngestService"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let mut watched = client.watch(request.clone()).await.unwrap().into_inner();
        let mut next = async || watched.message().await.unwrap().unwrap().status();
        while next().await != ServingStatus::NotServing {}
        harness.ready.ok();
        assert_eq!(next().await, ServingStatus::Serving);
        assert_eq!(client.check(request).await.unwrap().into_inner().status(), ServingStatus::Serving);
        harness.ready.failing("disk full");
        assert_eq!(next().await, ServingStatus::NotServing);
    }
    let unknown = HealthCheckRequest { service: "refwatch.v1.NoService".to_owned() };
    assert_eq!(client.check(unknown).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn reflection_lists_and_describes_what_is_served_in_both_versions() {
    let harness = Harness::start().await;
    let served = [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "refwatch.v1.GitEventService",
        "refwatch.v1.IngestService",
    ];
    let questions = served.map(|name| MessageRequest::FileContainingSymbol(name.to_owned()));
    let questions = [MessageRequest::ListServices(String::new())].into_iter().chain(questions);
    let requests: Vec<_> = questions
        .map(|question| ServerReflectionRequest { message_request: Some(question), ..Default::default() })
        .collect();
    let mut v1 = ServerReflectionClient::new(harness.channel().await);
    let mut answers =
        v1.server_reflection_info(tokio_stream::iter(requests.clone())).await.unwrap().into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) =
        answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("no list")
    };
    let mut names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    names.sort();
    assert_eq!(names, served);
    for name in served {
        let answer = answers.message().await.unwrap().unwrap().message_response;
        assert!(
            matches!(answer, Some(MessageResponse::FileDescriptorResponse(_))),
            "{name} by v1: {answer:?}"
        );
    }

    // The older version has the same messages on the wire.
    let again = requests
        .iter()
        .map(|request| v1alpha::ServerReflectionRequest::decode(request.encode_to_vec().as_slice()).unwrap());
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(harness.channel().await);
    let again = tokio_stream::iter(again.collect::<Vec<_>>());
    let mut answers = client.server_reflection_info(again).await.unwrap().into_inner();
    let mut described = 0;
    while let Some(answer) = answers.message().await.unwrap() {
        let answer = ServerReflectionResponse::decode(answer.encode_to_vec().as_slice()).unwrap();
        described +=
            u32::from(matches!(answer.message_response, Some(MessageResponse::FileDescriptorResponse(_))));
    }
    assert_eq!(described, 5, "by v1alpha");
}

#[tokio::test]
async fn the_server_tells_what_it_is_and_calls_are_counted() {
    let harness = Harness::start().await;
    harness.repository("a.git");
    let mut client = harness.client().await;
    let info = client.get_server_info(v1::GetServerInfoRequest {}).await.unwrap().into_inner();
    assert_eq!((info.floor_sequence, info.last_sequence), (1, 1));
    assert_eq!(info.epoch, crate::wire::hex16(harness.log.identity().epoch));
    assert_eq!(info.limits.unwrap().subscribers_max, 1000);
    assert!(info.capabilities.is_empty() && info.started_at_us > 0);
    let encoded = harness.metrics.encode(refwatch_ops::metrics::Exposition::OpenMetrics).unwrap();
    assert!(encoded.contains("method=\"GetServerInfo\",code=\"OK\""), "{encoded}");
}
