//! ONVIF's operations with their access classes: the table `classes.tsv`, made by `scripts/access-classes.py` from the public
//! repository onvif/specs (documents and WSDL files of release 26.06).
//!
//! An operation is namespace and local name of the element that stands in the SOAP body; prefixes only serve people. Mostly that
//! is the operation's own name. A row without a class is an operation that the documents give none: for Administrators only.

use std::{collections::BTreeMap, fmt, sync::LazyLock};

use super::class::AccessClass;

const TABLE: &str = include_str!("classes.tsv");

/// WS-BaseNotification: its elements, and its WSDL, by which actions are named.
const NOTIFICATION: &str = "http://docs.oasis-open.org/wsn/b-2";
const NOTIFICATION_WSDL: &str = "http://docs.oasis-open.org/wsn/bw-2";

/// The uplink configuration service.
pub const UPLINK: &str = "http://www.onvif.org/ver10/uplink/wsdl";

/// The prefixes by which the specifications name the services (also in the Functions of a UserRole).
const PREFIXES: [(&str, &str); 27] = [
    ("tab", "http://www.onvif.org/ver10/authenticationbehavior/wsdl"),
    ("tac", "http://www.onvif.org/ver10/accesscontrol/wsdl"),
    ("tad", "http://www.onvif.org/ver10/analyticsdevice/wsdl"),
    ("tae", "http://www.onvif.org/ver10/actionengine/wsdl"),
    ("tam", "http://www.onvif.org/ver10/appmgmt/wsdl"),
    ("tan", "http://www.onvif.org/ver20/analytics/wsdl"),
    ("tar", "http://www.onvif.org/ver10/accessrules/wsdl"),
    ("tas", "http://www.onvif.org/ver10/advancedsecurity/wsdl"),
    ("tcr", "http://www.onvif.org/ver10/credential/wsdl"),
    ("tdc", "http://www.onvif.org/ver10/doorcontrol/wsdl"),
    ("tds", "http://www.onvif.org/ver10/device/wsdl"),
    ("tev", "http://www.onvif.org/ver10/events/wsdl"),
    ("timg", "http://www.onvif.org/ver20/imaging/wsdl"),
    ("tls", "http://www.onvif.org/ver10/display/wsdl"),
    ("tmd", "http://www.onvif.org/ver10/deviceIO/wsdl"),
    ("tptz", "http://www.onvif.org/ver20/ptz/wsdl"),
    ("tpv", "http://www.onvif.org/ver10/provisioning/wsdl"),
    ("tr2", "http://www.onvif.org/ver20/media/wsdl"),
    ("trc", "http://www.onvif.org/ver10/recording/wsdl"),
    ("trp", "http://www.onvif.org/ver10/replay/wsdl"),
    ("trt", "http://www.onvif.org/ver10/media/wsdl"),
    ("trv", "http://www.onvif.org/ver10/receiver/wsdl"),
    ("tsc", "http://www.onvif.org/ver10/schedule/wsdl"),
    ("tse", "http://www.onvif.org/ver10/search/wsdl"),
    ("tth", "http://www.onvif.org/ver10/thermal/wsdl"),
    ("tup", UPLINK),
    ("wsnt", NOTIFICATION),
];

/// An operation of the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Operation {
    namespace: &'static str,
    name: &'static str,
}

type Table<'t> = BTreeMap<(&'t str, &'t str), (Operation, Option<AccessClass>)>;

static CLASSES: LazyLock<Table<'static>> = LazyLock::new(|| {
    let row =
        |(namespace, name, class)| ((namespace, name), (Operation { namespace, name }, AccessClass::parse(class)));
    rows().map(row).collect()
});

/// The rows below the head line: namespace, operation, class as it is written.
fn rows() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    TABLE.lines().skip(1).filter_map(|row| {
        let mut columns = row.split('\t');
        Some((columns.next()?, columns.next()?, columns.next()?))
    })
}

impl Operation {
    /// The operation with this namespace and local name, if the table has it.
    pub fn find(namespace: &str, name: &str) -> Option<Self> {
        let table: &Table<'_> = &CLASSES;
        table.get(&(namespace, name)).map(|(operation, _)| *operation)
    }

    /// The operation of a Function of a UserRole: `prefix:Operation`.
    ///
    /// # Errors
    /// A sentence: no prefix, an unknown one, or no such operation.
    pub fn by_function(text: &str) -> Result<Self, String> {
        let (prefix, name) = text
            .split_once(':')
            .ok_or_else(|| format!("`{text}` has no prefix; write for example tds:GetDeviceInformation"))?;
        let (_, namespace) = PREFIXES.iter().find(|(known, _)| *known == prefix).ok_or_else(|| {
            let known: Vec<_> = PREFIXES.iter().map(|(prefix, _)| *prefix).collect();
            format!("the prefix `{prefix}` is of no ONVIF service; known are {}", known.join(", "))
        })?;
        // Some elements of the search service have names of their own.
        Self::find(namespace, &format!("{name}Request"))
            .or_else(|| Self::find(namespace, name))
            .ok_or_else(|| format!("there is no operation `{name}` in {namespace} (upper and lower case count)"))
    }

    /// The operation with this name in a WSDL of this namespace, as an action names it.
    pub fn find_action(namespace: &str, name: &str) -> Option<Self> {
        Self::find(if namespace == NOTIFICATION_WSDL { NOTIFICATION } else { namespace }, name)
    }

    /// Its class; `None` when the specification gives none.
    pub fn class(self) -> Option<AccessClass> {
        CLASSES.get(&(self.namespace, self.name)).and_then(|(_, class)| *class)
    }

    /// Whether it is `Subscribe` of WS-BaseNotification: it has no class, and a switch decides.
    pub fn is_subscribe(self) -> bool {
        self.namespace == NOTIFICATION && self.name == "Subscribe"
    }

    /// Its namespace.
    pub fn namespace(self) -> &'static str {
        self.namespace
    }

    /// Its local name.
    pub fn name(self) -> &'static str {
        self.name
    }
}

/// `tds:GetServices`, or `{namespace}name` where no prefix is common.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match PREFIXES.iter().find(|(_, namespace)| *namespace == self.namespace) {
            Some((prefix, _)) => write!(f, "{prefix}:{}", self.name),
            None => write!(f, "{{{}}}{}", self.namespace, self.name),
        }
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(function: &str) -> Option<&'static str> {
        Operation::by_function(function).expect(function).class().map(AccessClass::as_str)
    }

    #[test]
    fn the_table_is_whole_and_each_class_in_it_is_known() {
        assert_eq!(rows().count(), 650);
        assert_eq!(CLASSES.len(), 650, "no operation stands there twice");
        for (namespace, name, class) in rows() {
            assert!(class.is_empty() || AccessClass::parse(class).is_some(), "{namespace} {name}: {class}");
        }
        assert_eq!(CLASSES.values().filter(|(_, class)| class.is_some()).count(), 585);
    }

    #[test]
    fn the_landmarks_have_the_classes_of_the_specification() {
        for (function, expected) in [
            ("tds:GetServices", "PRE_AUTH"),
            ("tds:GetSystemDateAndTime", "PRE_AUTH"),
            ("tr2:GetServiceCapabilities", "PRE_AUTH"),
            ("tds:GetDeviceInformation", "READ_SYSTEM"),
            ("tds:GetSystemUris", "READ_SYSTEM"),
            ("tup:GetUplinks", "READ_SYSTEM"),
            ("tds:GetUsers", "READ_SYSTEM_SECRET"),
            ("tds:GetSystemLog", "READ_SYSTEM_SECRET"),
            ("tds:SetUser", "WRITE_SYSTEM"),
            ("tup:SetUplink", "WRITE_SYSTEM"),
            ("tds:SystemReboot", "UNRECOVERABLE"),
            ("tds:StartFirmwareUpgrade", "UNRECOVERABLE"),
            ("trt:GetStreamUri", "READ_MEDIA"),
            ("tev:PullMessages", "READ_MEDIA"),
            ("tptz:ContinuousMove", "ACTUATE"),
            ("tds:SetRelayOutputState", "ACTUATE"),
            ("wsnt:Renew", "READ_MEDIA"),
            ("wsnt:Unsubscribe", "READ_MEDIA"),
            ("tse:SearchImageByNL", "READ_MEDIA"),
        ] {
            assert_eq!(class(function), Some(expected), "{function}");
        }
        assert_eq!(class("wsnt:Subscribe"), None);
        assert_eq!(class("tds:UpgradeSystemFirmware"), None);
    }

    #[test]
    fn an_operation_is_the_element_that_stands_in_the_body() {
        let of = |function: &str| {
            let operation = Operation::by_function(function).expect(function);
            (operation.namespace(), operation.name())
        };
        assert_eq!(of("wsnt:Renew"), ("http://docs.oasis-open.org/wsn/b-2", "Renew"));
        assert_eq!(of("tse:SearchImageByNL").1, "SearchImageByNLRequest");
        assert_eq!(Operation::find(NOTIFICATION_WSDL, "Renew"), None);
        assert_eq!(Operation::find_action(NOTIFICATION_WSDL, "Renew"), Operation::by_function("wsnt:Renew").ok());
    }

    #[test]
    fn every_prefix_is_of_a_namespace_of_the_table() {
        for (prefix, namespace) in PREFIXES {
            assert!(rows().any(|(known, ..)| known == namespace), "{prefix}");
        }
    }

    #[test]
    fn a_name_in_another_namespace_is_another_operation() {
        assert!(Operation::find("http://www.onvif.org/ver10/device/wsdl", "GetServices").is_some());
        for (namespace, name) in [
            ("http://www.onvif.org/ver10/media/wsdl", "GetServices"),
            ("http://www.onvif.org/ver10/device/wsdl/", "GetServices"),
            ("http://www.onvif.org/ver10/device/wsdl", "getServices"),
            ("", "GetServices"),
        ] {
            assert_eq!(Operation::find(namespace, name), None, "{namespace} {name}");
        }
    }

    #[test]
    fn a_function_that_is_none_is_refused_with_its_reason() {
        for (function, reason) in
            [("GetServices", "no prefix"), ("tdx:GetServices", "no ONVIF service"), ("tds:GetService", "no operation")]
        {
            assert!(Operation::by_function(function).expect_err(function).contains(reason), "{function}");
        }
        assert_eq!(Operation::by_function("tds:GetServices").expect("known").to_string(), "tds:GetServices");
    }
}
