//! The event service (ONVIF Core §9; WS-BaseNotification 1.3): pull points that tell of motion.
//!
//! Notification to an address of the client's (`Subscribe`) is not there: the camera dials nobody.

use std::time::Duration;

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    asked::{Asked, SUBSCRIPTION, VIDEO_SOURCE, date_time},
    duration,
    soap::{Element, Fault},
    subscriptions::{Motion, SUBSCRIPTIONS_MAX},
    unit::Unit,
};

pub(super) const NAMESPACE: &str = "http://www.onvif.org/ver10/events/wsdl";
/// Namespace of Renew and Unsubscribe.
pub(super) const NOTIFICATION: &str = "http://docs.oasis-open.org/wsn/b-2";
/// The only topic, as clients write it in a filter, without prefixes.
const TOPIC: [&str; 2] = ["VideoSource", "MotionAlarm"];
/// A pull point lives so long if its client does not say.
const LIFE_USUAL: Duration = Duration::from_secs(60);
/// Nobody gets a longer one.
const LIFE_MAX: Duration = Duration::from_secs(3600);
/// A pull waits no longer, whatever it asks for.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Events in one answer, whatever it asks for.
const MESSAGES_MAX: usize = 100;

pub(super) async fn answer(unit: &Unit, asked: &Asked<'_>, operation: &str) -> Result<String, Fault> {
    let (prefix, content) = match (asked.call.operation().0, operation) {
        (NAMESPACE, "GetServiceCapabilities") => {
            ("tev", format!("<tev:Capabilities{}</tev:Capabilities>", capabilities()))
        }
        (NAMESPACE, "GetEventProperties") => ("tev", PROPERTIES.to_owned()),
        (NAMESPACE, "CreatePullPointSubscription") => ("tev", create(unit, asked)?),
        (NAMESPACE, "PullMessages") => ("tev", pull(unit, asked).await?),
        (NAMESPACE, "SetSynchronizationPoint") => {
            there(unit.subscriptions.synchronize(number(asked)?))?;
            ("tev", String::new())
        }
        (NOTIFICATION, "Renew") => {
            let life = life(asked, asked.call.arguments.value("TerminationTime"), &TERMINATION)?;
            there(unit.subscriptions.renew(number(asked)?, life))?;
            let (now, end) = (date_time(asked.unix_ms), ending(asked.unix_ms, life));
            let times =
                format!("<wsnt:TerminationTime>{end}</wsnt:TerminationTime><wsnt:CurrentTime>{now}</wsnt:CurrentTime>");
            ("wsnt", times)
        }
        (NOTIFICATION, "Unsubscribe") => {
            there(unit.subscriptions.close(number(asked)?))?;
            ("wsnt", String::new())
        }
        _ => return Err(Fault::not_supported()),
    };
    Ok(format!("<{prefix}:{operation}Response>{content}</{prefix}:{operation}Response>"))
}

/// Attributes of the service's capabilities.
pub(super) fn capabilities() -> String {
    format!(
        " WSSubscriptionPolicySupport=\"false\" WSPausableSubscriptionManagerInterfaceSupport=\"false\" \
         MaxNotificationProducers=\"0\" MaxPullPoints=\"{SUBSCRIPTIONS_MAX}\" PersistentNotificationStorage=\"false\">"
    )
}

fn create(unit: &Unit, asked: &Asked<'_>) -> Result<String, Fault> {
    if let Some(filter) = asked.call.arguments.child("Filter") {
        check(filter)?;
    }
    let life = life(asked, asked.call.arguments.value("InitialTerminationTime"), &INITIAL_TERMINATION)?;
    let number = unit.subscriptions.open(life).ok_or(Fault::receiver(
        &["wsnt:SubscribeCreationFailedFault"],
        "The camera has no room for another pull point; end one with Unsubscribe or wait until one ends.",
    ))?;
    unit.journal.note(&date_time(asked.unix_ms), &format!("CreatePullPointSubscription: {number}"));
    let (address, now) = (&asked.addresses.http, date_time(asked.unix_ms));
    Ok(format!(
        "<tev:SubscriptionReference><wsa:Address>{address}{SUBSCRIPTION}{number}</wsa:Address></tev:SubscriptionReference>\
         <wsnt:CurrentTime>{now}</wsnt:CurrentTime><wsnt:TerminationTime>{}</wsnt:TerminationTime>",
        ending(asked.unix_ms, life)
    ))
}

async fn pull(unit: &Unit, asked: &Asked<'_>) -> Result<String, Fault> {
    let wrong = || Fault::sender(&["ter:InvalidArgVal"], "Timeout is no duration, or MessageLimit no number above 0.");
    let time = duration::parse(asked.need("Timeout")?).ok_or_else(wrong)?.min(WAIT_MAX);
    let most = asked.need("MessageLimit")?.parse::<u32>().ok().filter(|most| *most > 0).ok_or_else(wrong)?;
    let began = tokio::time::Instant::now();
    let pulled = unit.subscriptions.pull(number(asked)?, time, (most as usize).min(MESSAGES_MAX)).await;
    let (events, life) = pulled.ok_or(GONE)?;
    let now = asked.unix_ms.saturating_add(began.elapsed().as_millis() as u64);
    let messages: String = events.into_iter().map(|motion| message(motion, now)).collect();
    Ok(format!(
        "<tev:CurrentTime>{}</tev:CurrentTime><tev:TerminationTime>{}</tev:TerminationTime>{messages}",
        date_time(now),
        ending(now, life)
    ))
}

fn message(motion: Motion, now_ms: u64) -> String {
    let at = date_time(now_ms.saturating_sub(motion.ago.as_millis() as u64));
    let kind = if motion.initial { "Initialized" } else { "Changed" };
    format!(
        "<wsnt:NotificationMessage><wsnt:Topic Dialect=\"http://www.onvif.org/ver10/tev/topicExpression/ConcreteSet\">\
         tns1:{}/{}</wsnt:Topic><wsnt:Message><tt:Message UtcTime=\"{at}\" PropertyOperation=\"{kind}\"><tt:Source>\
         <tt:SimpleItem Name=\"Source\" Value=\"{VIDEO_SOURCE}\"/></tt:Source><tt:Data>\
         <tt:SimpleItem Name=\"State\" Value=\"{}\"/></tt:Data></tt:Message></wsnt:Message></wsnt:NotificationMessage>",
        TOPIC[0], TOPIC[1], motion.moving
    )
}

const GONE: Fault = Fault::sender(&["wsrf-rw:ResourceUnknownFault"], "There is no such pull point, or it has ended.");

fn there(found: bool) -> Result<(), Fault> {
    if found { Ok(()) } else { Err(GONE) }
}

/// The number of the pull point to whose address the message was sent.
fn number(asked: &Asked<'_>) -> Result<u32, Fault> {
    asked.path.strip_prefix(SUBSCRIPTION).and_then(|number| number.parse().ok()).ok_or(GONE)
}

/// Refuses filters that would not be obeyed: of contents, and of other topics.
fn check(filter: &Element) -> Result<(), Fault> {
    if filter.child("MessageContent").is_some() {
        return Err(Fault::sender(&["wsnt:InvalidMessageContentExpressionFault"], "The camera filters by topic only."));
    }
    let plain = |step: &str| step.rsplit(':').next().unwrap_or_default().to_owned();
    for expression in filter.all("TopicExpression") {
        let known = expression.text().split('|').any(|path| {
            let path = path.trim();
            let (path, subtree) = path.strip_suffix("//.").map_or((path, false), |path| (path, true));
            let steps: Vec<String> = path.split('/').map(plain).collect();
            steps == TOPIC || (subtree && steps == TOPIC[..1])
        });
        if !known {
            return Err(Fault::sender(
                &["wsnt:InvalidFilterFault"],
                "The camera's only topic is tns1:VideoSource/MotionAlarm.",
            ));
        }
    }
    Ok(())
}

const INITIAL_TERMINATION: [&str; 1] = ["wsnt:UnacceptableInitialTerminationTimeFault"];
const TERMINATION: [&str; 1] = ["wsnt:UnacceptableTerminationTimeFault"];

/// The span that a pull point gets: of the time that was asked for, a duration or a date, an hour at most.
fn life(asked: &Asked<'_>, wanted: Option<&str>, subcodes: &'static [&'static str]) -> Result<Duration, Fault> {
    let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) else { return Ok(LIFE_USUAL) };
    let until = |date: OffsetDateTime| {
        let milliseconds = date.unix_timestamp_nanos() / 1_000_000 - i128::from(asked.unix_ms);
        u64::try_from(milliseconds).ok().map(Duration::from_millis)
    };
    let span = duration::parse(wanted).or_else(|| OffsetDateTime::parse(wanted, &Rfc3339).ok().and_then(until));
    let span = span.filter(|span| !span.is_zero());
    span.map(|span| span.min(LIFE_MAX)).ok_or(Fault::sender(subcodes, "The time is none, or it is past."))
}

fn ending(now_ms: u64, life: Duration) -> String {
    date_time(now_ms.saturating_add(life.as_millis() as u64))
}

const PROPERTIES: &str = "<tev:TopicNamespaceLocation>http://www.onvif.org/onvif/ver10/topics/topicns.xml</tev:TopicNamespaceLocation>\
     <wsnt:FixedTopicSet>true</wsnt:FixedTopicSet><wstop:TopicSet><tns1:VideoSource><MotionAlarm wstop:topic=\"true\">\
     <tt:MessageDescription IsProperty=\"true\"><tt:Source>\
     <tt:SimpleItemDescription Name=\"Source\" Type=\"tt:ReferenceToken\"/></tt:Source><tt:Data>\
     <tt:SimpleItemDescription Name=\"State\" Type=\"xs:boolean\" xmlns:xs=\"http://www.w3.org/2001/XMLSchema\"/></tt:Data>\
     </tt:MessageDescription></MotionAlarm></tns1:VideoSource></wstop:TopicSet>\
     <wsnt:TopicExpressionDialect>http://www.onvif.org/ver10/tev/topicExpression/ConcreteSet</wsnt:TopicExpressionDialect>\
     <wsnt:TopicExpressionDialect>http://docs.oasis-open.org/wsn/t-1/TopicExpression/Concrete</wsnt:TopicExpressionDialect>\
     <tev:MessageContentFilterDialect>http://www.onvif.org/ver10/tev/messageContentFilter/ItemFilter</tev:MessageContentFilterDialect>\
     <tev:MessageContentSchemaLocation>http://www.onvif.org/onvif/ver10/schema/onvif.xsd</tev:MessageContentSchemaLocation>";
