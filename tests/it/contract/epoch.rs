//! Another log is never taken for the one that a cursor is of: one of another server, one that was restored from a backup,
//! lost, or has lost its end.

use std::fs;

use refwatch_core::Cursor;
use refwatch_proto::v1::watch_events_request::Start;
use refwatch_proto::v1::{OnGap, ResetReason, WatchEventsRequest};
use refwatch_tests::{Lens, Recorder, Refusal, request, validate};
use tonic::Code;

use super::scene::Scene;

/// A stream over the gap, once its snapshot is whole.
fn bridge(scene: &Scene, lens: &Lens, cursor: &str) -> Recorder {
    let ask = request(Start::Cursor(cursor.to_owned()), lens.filter.clone());
    let recorder =
        Recorder::start(&scene.client, WatchEventsRequest { on_gap: OnGap::Resnapshot.into(), ..ask });
    recorder.wait("the snapshot is whole", |now| now.whole);
    recorder
}

fn refuse(scene: &Scene, lens: &Lens, cursor: &str) -> Refusal {
    scene.client.watch_refused(request(Start::Cursor(cursor.to_owned()), lens.filter.clone()))
}

#[test]
fn cursors_of_other_logs_and_of_the_future_are_refused_or_bridged_under_every_filter() {
    let mut scene = Scene::new();
    let position = scene.client.sync();
    let (here, last) = (Cursor::decode(&position.cursor).expect("a cursor"), position.last_sequence);
    let other_log = Cursor { epoch: here.epoch ^ 1, ..here }.encode();
    let other_server = Cursor { server: here.server ^ 1, ..here }.encode();
    let ahead = Cursor { sequence: last + 3, ..here }.encode();
    let every = scene.client.refs(100).0;
    let mut bridged = Vec::new();
    for lens in scene.lenses() {
        println!("{lens:?}");
        for cursor in [&other_log, &other_server] {
            let refusal = refuse(&scene, &lens, cursor);
            assert_eq!((refusal.code, &*refusal.reason), (Code::FailedPrecondition, "CURSOR_FOREIGN_EPOCH"));
            assert_eq!(refusal.metadata["epoch"], position.epoch);
        }
        let refusal = refuse(&scene, &lens, &ahead);
        assert_eq!((refusal.code, &*refusal.reason), (Code::FailedPrecondition, "CURSOR_AHEAD"));
        assert_eq!(refusal.metadata["cursor_sequence"], (last + 3).to_string());
        assert_eq!(refusal.metadata["last_sequence"], last.to_string());
    }
    let gaps = [
        (&other_log, ResetReason::ForeignEpoch, (0, 0)),
        (&other_server, ResetReason::ForeignEpoch, (0, 0)),
        (&ahead, ResetReason::CursorAhead, (last + 1, last + 3)),
    ];
    for (cursor, reason, lost) in gaps {
        for lens in scene.lenses() {
            let recorder = bridge(&scene, &lens, cursor);
            let recording = recorder.now();
            let [reset] = recording.resets.as_slice() else { panic!("one reset: {:?}", recording.resets) };
            assert_eq!((reset.reason(), &reset.epoch), (reason, &position.epoch));
            assert_eq!((reset.lost_first_sequence, reset.lost_last_sequence), lost);
            validate::shown(&lens, &every, &recording.refs);
            bridged.push((lens, recorder));
        }
    }
    // In the same stream it goes on.
    scene.act();
    let log = scene.log();
    for (lens, recorder) in bridged {
        println!("{lens:?}");
        validate::delivered(&log, last, &lens, &recorder.settle(&scene.client).events);
    }
}

#[test]
fn a_log_that_was_restored_from_a_backup_or_lost_is_another_one() {
    let mut scene = Scene::new();
    let database = scene.world.database();
    let (kept, backup) =
        (database.parent().expect("beside the root").to_owned(), scene.world.beside("backup.db"));
    scene.daemon.stop();
    fs::copy(&database, &backup).expect("copied");
    scene.daemon.restart();
    scene.client = scene.daemon.client();
    let before = scene.client.sync();
    scene.act();
    let after = scene.client.sync();
    let mut epochs = vec![after.epoch.clone()];
    for is_lost in [false, true] {
        scene.daemon.stop();
        if is_lost {
            fs::remove_dir_all(&kept).expect("removed");
        } else {
            fs::copy(&backup, &database).expect("restored");
        }
        scene.daemon.restart();
        scene.client = scene.daemon.client();
        let epoch = scene.client.sync().epoch;
        assert!(!epochs.contains(&epoch), "{epoch} is none of {epochs:?}");
        epochs.push(epoch.clone());
        // Those from before the backup was made as well: nobody knows what their owner has seen since.
        for cursor in [&before.cursor, &after.cursor] {
            let refusal = refuse(&scene, &Lens::everything(), cursor);
            assert_eq!((refusal.code, &*refusal.reason), (Code::FailedPrecondition, "CURSOR_FOREIGN_EPOCH"));
            assert_eq!(
                (&refusal.metadata["cursor_epoch"], &refusal.metadata["epoch"]),
                (&after.epoch, &epoch)
            );
            let recorder = bridge(&scene, &Lens::everything(), cursor);
            let recording = recorder.now();
            assert_eq!(recording.started.as_ref().expect("it began").epoch, epoch);
            assert_eq!(recording.resets[0].reason(), ResetReason::ForeignEpoch);
            // What the backup did not know of is found again.
            scene.hold_truth(&recorder.settle(&scene.client));
        }
        scene.daemon.wait_ready();
    }
}
