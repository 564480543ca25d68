//! The device service: what the camera is, which services it has, how its network is set (ONVIF Core §8).
//!
//! What would change the network or the users of a camera is not there. A reboot is answered and does nothing: the emulator
//! often is the only process of a container.

use quick_xml::escape::escape;

use super::{
    asked::{Addresses, Asked, VERSION, date_time},
    events, imaging, media, media2, ptz,
    soap::{Element, Fault},
    unit::Unit,
};
use crate::demo::camera::clock;

pub(super) const NAMESPACE: &str = "http://www.onvif.org/ver10/device/wsdl";
/// Its own network, as cameras have one behind a router.
const PRIVATE_ADDRESS: &str = "192.168.1.10";
const GATEWAY: &str = "192.168.1.1";

pub(super) fn answer(unit: &Unit, asked: &Asked<'_>, operation: &str) -> Result<String, Fault> {
    let content = match operation {
        "GetSystemDateAndTime" => date_and_time(asked.unix_ms),
        "GetDeviceInformation" => information(unit),
        "GetCapabilities" => capabilities(asked)?,
        "GetServices" => list(asked)?,
        "GetServiceCapabilities" => format!("<tds:Capabilities>{SERVICE_CAPABILITIES}</tds:Capabilities>"),
        "GetScopes" => scopes(unit),
        "GetHostname" => format!(
            "<tds:HostnameInformation><tt:FromDHCP>false</tt:FromDHCP><tt:Name>{}</tt:Name></tds:HostnameInformation>",
            escape(&unit.facts.serial)
        ),
        "GetDNS" => {
            format!("<tds:DNSInformation><tt:FromDHCP>false</tt:FromDHCP>{}</tds:DNSInformation>", manual("DNSManual"))
        }
        "GetNTP" => {
            format!("<tds:NTPInformation><tt:FromDHCP>false</tt:FromDHCP>{}</tds:NTPInformation>", manual("NTPManual"))
        }
        "GetNetworkInterfaces" => NETWORK_INTERFACES.replace("{address}", &own_address(asked.addresses)),
        "GetNetworkDefaultGateway" => {
            format!("<tds:NetworkGateway><tt:IPv4Address>{GATEWAY}</tt:IPv4Address></tds:NetworkGateway>")
        }
        "GetNetworkProtocols" => protocols(asked.addresses),
        "GetDiscoveryMode" => "<tds:DiscoveryMode>NonDiscoverable</tds:DiscoveryMode>".to_owned(),
        "GetUsers" => format!(
            "<tds:User><tt:Username>{}</tt:Username><tt:UserLevel>Administrator</tt:UserLevel></tds:User>",
            escape(&unit.facts.user)
        ),
        "GetSystemLog" => {
            let lines = unit.journal.text();
            format!("<tds:SystemLog><tt:String>{}</tt:String></tds:SystemLog>", escape(&lines))
        }
        "GetSystemUris" => format!(
            "<tds:SystemLogUris><tt:SystemLog><tt:Type>System</tt:Type><tt:Uri>{}/system.log</tt:Uri></tt:SystemLog>\
             </tds:SystemLogUris>",
            asked.addresses.http
        ),
        "SystemReboot" => {
            unit.journal.note(&date_time(asked.unix_ms), "SystemReboot: answered, not done");
            "<tds:Message>The emulator goes on: a reboot does nothing to it.</tds:Message>".to_owned()
        }
        _ => return Err(Fault::not_supported()),
    };
    Ok(format!("<tds:{operation}Response>{content}</tds:{operation}Response>"))
}

fn date_and_time(unix_ms: u64) -> String {
    let now = clock::utc(unix_ms);
    format!(
        "<tds:SystemDateAndTime><tt:DateTimeType>NTP</tt:DateTimeType>\
         <tt:DaylightSavings>false</tt:DaylightSavings><tt:TimeZone><tt:TZ>UTC0</tt:TZ></tt:TimeZone><tt:UTCDateTime>\
         <tt:Time><tt:Hour>{}</tt:Hour><tt:Minute>{}</tt:Minute><tt:Second>{}</tt:Second></tt:Time>\
         <tt:Date><tt:Year>{}</tt:Year><tt:Month>{}</tt:Month><tt:Day>{}</tt:Day></tt:Date></tt:UTCDateTime>\
         </tds:SystemDateAndTime>",
        now.hour(),
        now.minute(),
        now.second(),
        now.year(),
        u8::from(now.month()),
        now.day()
    )
}

fn information(unit: &Unit) -> String {
    let facts = &unit.facts;
    format!(
        "<tds:Manufacturer>{}</tds:Manufacturer><tds:Model>{}</tds:Model>\
         <tds:FirmwareVersion>{}</tds:FirmwareVersion><tds:SerialNumber>{}</tds:SerialNumber>\
         <tds:HardwareId>{}</tds:HardwareId>",
        escape(&facts.manufacturer),
        escape(&facts.model),
        escape(&facts.firmware),
        escape(&facts.serial),
        escape(&facts.hardware)
    )
}

/// The capabilities of the categories that were asked for, in the order of the schema; media2 has none here.
fn capabilities(asked: &Asked<'_>) -> Result<String, Fault> {
    const KNOWN: [&str; 5] = ["Device", "Events", "Imaging", "Media", "PTZ"];
    let mut wanted = Vec::new();
    for category in asked.call.arguments.all("Category").map(Element::text) {
        match category {
            "All" => wanted.extend(KNOWN),
            "Analytics" => {
                return Err(Fault::receiver(
                    &["ter:ActionNotSupported", "ter:NoSuchService"],
                    "This camera emulator has no service of that category.",
                ));
            }
            _ if KNOWN.contains(&category) => wanted.push(category),
            _ => return Err(Fault::sender(&["ter:InvalidArgVal"], "Category is none of those that ONVIF names.")),
        }
    }
    let has = |category| wanted.is_empty() || wanted.contains(&category);
    let addresses = asked.addresses;
    let mut content = String::new();
    if has("Device") {
        content.push_str(&format!(
            "<tt:Device><tt:XAddr>{}</tt:XAddr><tt:System><tt:DiscoveryResolve>false</tt:DiscoveryResolve>\
             <tt:DiscoveryBye>false</tt:DiscoveryBye><tt:RemoteDiscovery>false</tt:RemoteDiscovery>\
             <tt:SystemBackup>false</tt:SystemBackup><tt:SystemLogging>true</tt:SystemLogging>\
             <tt:FirmwareUpgrade>false</tt:FirmwareUpgrade><tt:SupportedVersions>{VERSION}</tt:SupportedVersions>\
             </tt:System></tt:Device>",
            addresses.service("device")
        ));
    }
    if has("Events") {
        content.push_str(&format!(
            "<tt:Events><tt:XAddr>{}</tt:XAddr><tt:WSSubscriptionPolicySupport>false</tt:WSSubscriptionPolicySupport>\
             <tt:WSPullPointSupport>true</tt:WSPullPointSupport>\
             <tt:WSPausableSubscriptionManagerInterfaceSupport>false</tt:WSPausableSubscriptionManagerInterfaceSupport>\
             </tt:Events>",
            addresses.service("event")
        ));
    }
    if has("Imaging") {
        content.push_str(&format!("<tt:Imaging><tt:XAddr>{}</tt:XAddr></tt:Imaging>", addresses.service("imaging")));
    }
    if has("Media") {
        content.push_str(&format!(
            "<tt:Media><tt:XAddr>{}</tt:XAddr><tt:StreamingCapabilities><tt:RTPMulticast>false</tt:RTPMulticast>\
             <tt:RTP_TCP>true</tt:RTP_TCP><tt:RTP_RTSP_TCP>true</tt:RTP_RTSP_TCP></tt:StreamingCapabilities></tt:Media>",
            addresses.service("media")
        ));
    }
    if has("PTZ") {
        content.push_str(&format!("<tt:PTZ><tt:XAddr>{}</tt:XAddr></tt:PTZ>", addresses.service("ptz")));
    }
    Ok(format!("<tds:Capabilities>{content}</tds:Capabilities>"))
}

/// All services, each with its own capabilities where they are wanted.
fn list(asked: &Asked<'_>) -> Result<String, Fault> {
    let detailed = match asked.call.arguments.value("IncludeCapability") {
        Some("true" | "1") => true,
        Some("false" | "0") => false,
        Some(_) => return Err(Fault::sender(&["ter:InvalidArgVal"], "IncludeCapability is neither true nor false.")),
        None => return Err(Fault::sender(&["ter:InvalidArgs"], "IncludeCapability is missing.")),
    };
    let entry = |(namespace, word, prefix, capabilities): (&str, &str, &str, String)| {
        let detail = if detailed {
            format!("<tds:Capabilities><{prefix}:Capabilities{capabilities}</{prefix}:Capabilities></tds:Capabilities>")
        } else {
            String::new()
        };
        format!(
            "<tds:Service><tds:Namespace>{namespace}</tds:Namespace><tds:XAddr>{}</tds:XAddr>{detail}\
             <tds:Version>{VERSION}</tds:Version></tds:Service>",
            asked.addresses.service(word)
        )
    };
    let rtsp = asked.addresses.rtsp.is_some();
    let services = [
        (NAMESPACE, "device", "tds", format!(">{SERVICE_CAPABILITIES}")),
        (media::NAMESPACE, "media", "trt", media::capabilities(rtsp)),
        (media2::NAMESPACE, "media2", "tr2", media2::capabilities(rtsp)),
        (ptz::NAMESPACE, "ptz", "tptz", ptz::CAPABILITIES.to_owned()),
        (imaging::NAMESPACE, "imaging", "timg", imaging::CAPABILITIES.to_owned()),
        (events::NAMESPACE, "event", "tev", events::capabilities()),
    ];
    Ok(services.into_iter().map(entry).collect())
}

fn scopes(unit: &Unit) -> String {
    // Scopes are URIs: what may not stand in one is left out.
    let plain = |text: &str| -> String {
        text.chars()
            .map(|letter| if letter.is_ascii_alphanumeric() || "-._~".contains(letter) { letter } else { '_' })
            .collect()
    };
    let fixed = |item: &str| {
        format!(
            "<tds:Scopes><tt:ScopeDef>Fixed</tt:ScopeDef><tt:ScopeItem>onvif://www.onvif.org/{item}</tt:ScopeItem></tds:Scopes>"
        )
    };
    let named = [format!("name/{}", plain(&unit.facts.serial)), format!("hardware/{}", plain(&unit.facts.model))];
    let kinds = ["type/video_encoder", "type/ptz", "Profile/Streaming", "location/emulated"];
    kinds.into_iter().map(fixed).chain(named.iter().map(|item| fixed(item))).collect()
}

/// An address of a server that the camera was told of.
fn manual(name: &str) -> String {
    format!("<tt:{name}><tt:Type>IPv4</tt:Type><tt:IPv4Address>{GATEWAY}</tt:IPv4Address></tt:{name}>")
}

/// The camera's IPv4 address: the one by which it is known, if that is one.
fn own_address(addresses: &Addresses) -> String {
    let host = addresses.http.trim_start_matches("http://").split([':', '/']).next().unwrap_or_default();
    let known = host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_private());
    if known { host.to_owned() } else { PRIVATE_ADDRESS.to_owned() }
}

fn protocols(addresses: &Addresses) -> String {
    let port = |address: &str, usual: u16| {
        let last = address.rsplit(':').next().unwrap_or_default();
        last.parse::<u16>().unwrap_or(usual)
    };
    let entry = |name: &str, port: u16| {
        format!(
            "<tds:NetworkProtocols><tt:Name>{name}</tt:Name><tt:Enabled>true</tt:Enabled><tt:Port>{port}</tt:Port></tds:NetworkProtocols>"
        )
    };
    let rtsp = addresses.rtsp.as_deref().map(|address| entry("RTSP", port(address, 554)));
    entry("HTTP", port(&addresses.http, 80)) + &rtsp.unwrap_or_default()
}

/// Of GetServiceCapabilities, the content. What says how credentials are taken is left to challenges.
const SERVICE_CAPABILITIES: &str = "<tds:Network IPFilter=\"false\" ZeroConfiguration=\"false\" \
     IPVersion6=\"false\" DynDNS=\"false\"/><tds:Security UsernameToken=\"true\" HttpDigest=\"true\"/>\
     <tds:System DiscoveryResolve=\"false\" DiscoveryBye=\"false\" RemoteDiscovery=\"false\" SystemLogging=\"true\" \
     HttpSystemLogging=\"true\"/>";

const NETWORK_INTERFACES: &str = "<tds:NetworkInterfaces token=\"eth0\"><tt:Enabled>true</tt:Enabled><tt:Info><tt:Name>eth0</tt:Name>\
     <tt:HwAddress>02:00:00:00:00:01</tt:HwAddress><tt:MTU>1500</tt:MTU></tt:Info><tt:IPv4><tt:Enabled>true</tt:Enabled>\
     <tt:Config><tt:Manual><tt:Address>{address}</tt:Address><tt:PrefixLength>24</tt:PrefixLength></tt:Manual>\
     <tt:DHCP>false</tt:DHCP></tt:Config></tt:IPv4></tds:NetworkInterfaces>";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_address_is_the_known_one_only_if_it_is_private() {
        let of = |host: &str| own_address(&Addresses::new(host, Some(8080), None));
        assert_eq!((of("10.1.2.3").as_str(), of("127.0.0.1").as_str()), ("10.1.2.3", PRIVATE_ADDRESS));
        assert_eq!((of("camera.test"), of("[::1]")), (PRIVATE_ADDRESS.to_owned(), PRIVATE_ADDRESS.to_owned()));
    }

    #[test]
    fn protocols_name_the_ports_that_clients_see() {
        let both = protocols(&Addresses::new("camera", None, Some(8554)));
        assert!(both.contains("<tt:Port>80<") && both.contains("<tt:Port>8554<"), "{both}");
        let usual = protocols(&Addresses::new("[::1]", Some(81), Some(554)));
        assert!(usual.contains("<tt:Port>81<") && usual.contains("<tt:Port>554<"), "{usual}");
        assert!(!protocols(&Addresses::new("camera", None, None)).contains("RTSP"));
    }
}
