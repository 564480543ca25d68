//! The machine, sentence by sentence, and under random events.

use proptest::prelude::*;

use super::*;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn connecting() -> Machine {
    let mut machine = Machine::new(Backoff::new(&"camera-1"));
    assert_eq!(machine.on(Event::Start, Instant::now()), [Action::Connect]);
    machine
}

fn online(now: Instant) -> Machine {
    let mut machine = connecting();
    assert_eq!(machine.on(Event::Connected, now), [Action::Promote]);
    machine
}

fn wait(machine: &Machine, now: Instant) -> Duration {
    machine.deadline().expect("waits") - now
}

const FAILED: Event = Event::Failed { retry_after: None };

#[test]
fn failures_ascend_and_each_wait_ends_in_an_attempt() {
    let (mut machine, mut now) = (connecting(), Instant::now());
    let mut before = Duration::ZERO;
    for attempt in 1..7 {
        assert_eq!(machine.attempt(), attempt);
        assert_eq!(machine.on(FAILED, now), []);
        let delay = wait(&machine, now);
        assert!(delay >= before);
        before = delay;
        now += delay;
        assert_eq!(machine.on(Event::Timer, now), [Action::Connect]);
    }
    assert_eq!(before, backoff::CAP);
}

#[test]
fn only_a_session_that_lasted_starts_the_ascent_over() {
    let mut now = Instant::now();
    let mut machine = online(now);
    for _ in 0..5 {
        machine.on(Event::Ended, now);
        now = machine.deadline().expect("waits");
        machine.on(Event::Timer, now);
        machine.on(Event::Connected, now);
    }
    machine.on(Event::Ended, now + LASTED - secs(1));
    assert!(wait(&machine, now + LASTED - secs(1)) > secs(20));
    now = machine.deadline().expect("waits");
    machine.on(Event::Timer, now);
    machine.on(Event::Connected, now);
    machine.on(Event::Ended, now + LASTED);
    assert!(wait(&machine, now + LASTED) < secs(4));
    assert_eq!(machine.attempt(), 0);
}

#[test]
fn a_lost_network_cuts_the_session_and_dials_at_once_but_not_in_a_storm() {
    let now = Instant::now();
    let mut machine = online(now);
    assert_eq!(machine.on(Event::Network { lost: true }, now), [Action::Cut, Action::Connect]);
    assert_eq!(machine.state(), State::Connecting);
    machine.on(Event::Connected, now + secs(1));
    assert_eq!(machine.on(Event::Network { lost: true }, now + secs(1)), [Action::Cut]);
    assert!(wait(&machine, now + secs(1)) <= EARLY_GAP, "bounded like flapping material");
}

#[test]
fn another_way_out_makes_a_successor_while_the_session_goes_on() {
    let now = Instant::now();
    let mut machine = online(now);
    assert_eq!(machine.on(Event::Network { lost: false }, now), [Action::Connect]);
    assert!(matches!(machine.state(), State::Online { successor: Successor::Connecting(_), .. }));
    assert_eq!(machine.on(Event::Connected, now + secs(1)), [Action::Retire, Action::Promote]);
}

#[test]
fn an_attempt_under_way_begins_anew_and_a_wait_is_shortened() {
    let (mut machine, now) = (connecting(), Instant::now());
    assert_eq!(machine.on(Event::Network { lost: false }, now), [Action::Abandon, Action::Connect]);
    assert_eq!(machine.on(Event::Network { lost: false }, now + secs(1)), [], "not in a storm");
    machine.on(FAILED, now + secs(1));
    let later = now + EARLY_GAP;
    assert_eq!(machine.on(Event::Network { lost: false }, later), [Action::Connect]);
}

#[test]
fn retry_after_is_honoured_even_when_material_changes() {
    let (mut machine, now) = (connecting(), Instant::now());
    machine.on(Event::Failed { retry_after: Some(secs(90)) }, now);
    assert_eq!(wait(&machine, now), secs(90));
    assert_eq!(machine.on(Event::Material, now + secs(1)), []);
    assert_eq!(wait(&machine, now), secs(90));
}

#[test]
fn mended_material_is_tried_at_once_but_a_flapping_file_is_not() {
    let (mut machine, now) = (connecting(), Instant::now());
    machine.on(FAILED, now);
    assert_eq!(machine.on(Event::Material, now), [Action::Connect]);
    machine.on(FAILED, now);
    assert_eq!(machine.on(Event::Material, now + secs(1)), []);
    assert_eq!(wait(&machine, now), EARLY_GAP);
}

#[test]
fn material_that_changes_during_an_attempt_is_not_forgotten() {
    let now = Instant::now();
    let mut machine = connecting();
    assert_eq!(machine.on(Event::Material, now), []);
    assert_eq!(machine.on(Event::Connected, now), [Action::Promote, Action::Connect]);
    assert_eq!(machine.on(Event::Connected, now), [Action::Retire, Action::Promote]);
}

#[test]
fn a_session_outlives_failing_successors_with_new_material() {
    let now = Instant::now();
    let mut machine = online(now);
    assert_eq!(machine.on(Event::Material, now), [Action::Connect]);
    assert_eq!(machine.on(FAILED, now), []);
    assert!(matches!(machine.state(), State::Online { .. }));
    assert_eq!(machine.on(Event::Timer, machine.deadline().expect("waits")), [Action::Connect]);
}

#[test]
fn a_session_with_old_settings_goes_when_the_new_one_stands_or_has_failed_once() {
    let now = Instant::now();
    let mut machine = online(now);
    assert_eq!(machine.on(Event::Settings, now), [Action::Connect]);
    assert_eq!(machine.on(Event::Connected, now), [Action::Retire, Action::Promote]);
    assert_eq!(machine.on(Event::Settings, now), [Action::Connect]);
    assert_eq!(machine.on(FAILED, now), [Action::Retire]);
    assert!(matches!(machine.state(), State::Waiting { .. }));
    assert_eq!(machine.on(Event::Settings, now), [Action::Connect]);
    assert_eq!(machine.on(Event::Settings, now), [Action::Abandon, Action::Connect]);
}

#[test]
fn an_attempt_under_way_goes_on_when_the_old_session_ends() {
    let now = Instant::now();
    let mut machine = online(now);
    machine.on(Event::Material, now);
    assert_eq!(machine.on(Event::Ended, now), []);
    assert_eq!(machine.state(), State::Connecting);
    assert_eq!(machine.on(Event::Connected, now), [Action::Promote]);
}

fn events() -> impl Strategy<Value = Vec<(u8, u64)>> {
    prop::collection::vec((0u8..11, 0u64..20_000), 0..120)
}

proptest! {
    #[test]
    fn whatever_happens_attempts_and_sessions_are_kept_one_by_one(events in events(), key in "[a-z]{1,8}") {
        let mut machine = Machine::new(Backoff::new(&key));
        let (mut now, mut attempt, mut session, mut drained) = (Instant::now(), false, false, false);
        for (kind, millis) in events {
            now += Duration::from_millis(millis);
            let event = match kind {
                0 => Event::Start,
                1 if attempt => Event::Connected,
                2 | 3 if attempt => FAILED,
                4 if session => Event::Ended,
                5 => Event::Timer,
                6 => Event::Material,
                7 => Event::Settings,
                8 if millis < 1000 => Event::Drain,
                9 => Event::Network { lost: false },
                10 => Event::Network { lost: session },
                _ => Event::Timer,
            };
            attempt &= !matches!(event, Event::Connected | Event::Failed { .. });
            session &= event != Event::Ended;
            drained |= event == Event::Drain;
            for action in machine.on(event, now) {
                match action {
                    Action::Abandon => { prop_assert!(attempt); attempt = false; }
                    Action::Connect => { prop_assert!(!attempt && !drained); attempt = true; }
                    Action::Retire | Action::Cut => { prop_assert!(session); session = false; }
                    Action::Promote => { prop_assert!(!session && !drained); session = true; }
                }
            }
            prop_assert_eq!(machine.connecting(), attempt);
            prop_assert_eq!(matches!(machine.state(), State::Online { .. }), session);
            let waits = !drained && !attempt && machine.state() != State::Offline && !session;
            prop_assert!(!waits || machine.deadline().is_some(), "an uplink that is down must try again");
        }
        machine.on(Event::Drain, now);
        machine.on(Event::Gone, now);
        prop_assert_eq!(machine.state(), State::Stopped);
    }

    #[test]
    fn a_flapping_file_makes_no_more_attempts_than_one_per_gap(steps in prop::collection::vec(1u64..2_000, 10..200)) {
        let (mut machine, start) = (connecting(), Instant::now());
        let (mut now, mut attempts) = (start, 1u32);
        machine.on(FAILED, now);
        for millis in steps {
            now += Duration::from_millis(millis);
            for event in [Event::Material, Event::Timer] {
                if machine.on(event, now).contains(&Action::Connect) {
                    attempts += 1;
                    machine.on(FAILED, now);
                }
            }
        }
        let gaps = (now - start).as_millis() / EARLY_GAP.as_millis();
        prop_assert!(u128::from(attempts) <= gaps + 3, "{attempts} in {gaps} gaps");
    }
}
