//! The type of an event follows from its other fields, as the table above `GitEventType` says.

use std::collections::BTreeSet;

use refwatch_proto::v1::GitEventType as Type;
use refwatch_tests::validate;

use super::scene::Scene;

#[test]
fn every_type_is_what_the_fields_of_its_event_give() {
    let mut scene = Scene::new();
    let watched = scene.watch();
    for _ in 0..2 {
        scene.act();
    }
    let repositories = scene.client.repositories();
    for seen in &watched {
        println!("{}", seen.name());
        validate::typed(&scene.settle(seen).events, |event| {
            let id = &event.repository.as_ref().expect("always set").id;
            repositories.iter().any(|repository| repository.id == *id && repository.bare)
        });
    }
    let types: BTreeSet<Type> = scene.log().iter().map(|event| event.r#type()).collect();
    let expected = [
        Type::BranchCreated,
        Type::BranchUpdated,
        Type::BranchForcePushed,
        Type::BranchDeleted,
        Type::BranchRenamed,
        Type::TagCreated,
        Type::TagDeleted,
        Type::ReleaseCreated,
        Type::DefaultBranchChanged,
        Type::NotesUpdated,
        Type::ChangeRequestRefUpdated,
        Type::CustomRefUpdated,
        Type::SymbolicRefUpdated,
        Type::RepositoryDiscovered,
    ];
    for kind in expected {
        assert!(types.contains(&kind), "{kind:?} occurs in the acts: {types:?}");
    }
}
