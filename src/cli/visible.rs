//! Arguments of `run` that let Kubernetes see and change more: Events, status in an object, write-back.

use clap::{ArgAction, Args, ValueEnum, builder::BoolishValueParser};

use super::Run;
use crate::model::{
    kubernetes::{check_name, check_namespace},
    pod::{Pod, StatusTarget},
};

/// What charts call the name of the pod in the environment.
const POD_NAME: &str = "POD_NAME";
/// And its uid.
const POD_UID: &str = "POD_UID";

/// What is visible where.
#[derive(Clone, Debug, Args)]
pub struct Visible {
    /// Events on the pod: uplinks that come up or fail, configuration that is refused, certificates that end soon
    #[arg(long, env = "ONVIF_UPLINK_EVENTS", value_enum, default_value = "off")]
    pub events: Events,
    /// Write the document of /status into this ConfigMap, under the key status.json
    #[arg(long, env = "ONVIF_UPLINK_STATUS_CONFIGMAP", value_name = "[NAMESPACE/]NAME")]
    pub status_configmap: Option<String>,
    /// Write one line of status as the annotation onvif-uplink/status of the pod
    #[arg(long, env = "ONVIF_UPLINK_STATUS_ANNOTATION", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub status_annotation: bool,
    /// Let SetUplink and DeleteUplink change the ConfigMap of --configmap; a file needs no such flag
    #[arg(long, env = "ONVIF_UPLINK_WRITE_BACK", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub write_back: bool,
    /// Name of the pod (downward API).
    #[arg(skip = std::env::var(POD_NAME).ok())]
    pub pod_name: Option<String>,
    /// Its uid.
    #[arg(skip = std::env::var(POD_UID).ok())]
    pub pod_uid: Option<String>,
}

/// Where Events go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Events {
    /// Nowhere
    #[default]
    Off,
    /// On the pod of this process
    Pod,
}

impl Run {
    /// The pod that Events go to, if they do.
    ///
    /// # Errors
    /// The variable of the downward API that is missing.
    pub fn events(&self) -> Result<Option<Pod>, String> {
        match self.visible.events {
            Events::Off => Ok(None),
            Events::Pod => self.pod("--events pod").map(Some),
        }
    }

    /// Where the status is written.
    ///
    /// # Errors
    /// What is missing or wrong, and how to mend it.
    pub fn status_targets(&self) -> Result<Vec<StatusTarget>, String> {
        let mut targets = Vec::new();
        if let Some(text) = &self.visible.status_configmap {
            targets.push(self.status_configmap(text).map_err(|sentence| format!("--status-configmap: {sentence}"))?);
        }
        if self.visible.status_annotation {
            targets.push(StatusTarget::Annotation(self.pod("--status-annotation")?));
        }
        Ok(targets)
    }

    /// What clap cannot say of these flags.
    pub(super) fn check_visible(&self) -> Result<(), String> {
        if self.visible.write_back && self.configmap.is_none() {
            return Err("--write-back is for the ConfigMap of --configmap; a configuration file is written without it"
                .to_owned());
        }
        let needs_api = self.events()?.is_some() | !self.status_targets()?.is_empty();
        if needs_api && !cfg!(feature = "kubernetes") {
            return Err("this program was built without the feature `kubernetes`; --events, --status-configmap and \
                        --status-annotation need it"
                .to_owned());
        }
        Ok(())
    }

    fn status_configmap(&self, text: &str) -> Result<StatusTarget, String> {
        let of_configmap = self.configmap.as_ref().map(|at| at.namespace.as_str());
        let (namespace, name) = match (text.split_once('/'), self.pod_namespace.as_deref().or(of_configmap)) {
            (Some(both), _) => both,
            (None, Some(namespace)) => (namespace, text),
            (None, None) => {
                return Err(
                    "write NAMESPACE/NAME, or set POD_NAMESPACE (metadata.namespace by the downward API)".to_owned()
                );
            }
        };
        let (namespace, name) = (check_namespace(namespace)?.to_owned(), check_name(name)?.to_owned());
        // It would be read again after each write.
        if self.configmap.as_ref().is_some_and(|at| (&at.namespace, &at.name) == (&namespace, &name)) {
            return Err("this is the ConfigMap of the configuration; name another one".to_owned());
        }
        Ok(StatusTarget::ConfigMap { namespace, name })
    }

    fn pod(&self, flag: &str) -> Result<Pod, String> {
        let given = |name: &str, value: &Option<String>| {
            value.clone().filter(|value| !value.is_empty()).ok_or_else(|| {
                format!("{flag} needs {name}: set POD_NAMESPACE, POD_NAME and POD_UID by the downward API (metadata.namespace, .name, .uid)")
            })
        };
        Ok(Pod {
            namespace: given("POD_NAMESPACE", &self.pod_namespace)?,
            name: given(POD_NAME, &self.visible.pod_name)?,
            uid: given(POD_UID, &self.visible.pod_uid)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Command, parse};

    /// As in a pod, with these flags more.
    fn run(flags: &str) -> Run {
        let line = format!("onvif-uplink run --configmap cams/uplinks {flags}");
        let Command::Run(mut run) = parse(line.split(' ').filter(|part| !part.is_empty())).expect("good").command
        else {
            panic!("run")
        };
        run.pod_namespace = Some("cams".to_owned());
        (run.visible.pod_name, run.visible.pod_uid) = (Some("nvr-0".to_owned()), Some("u-1".to_owned()));
        run
    }

    #[test]
    fn nothing_is_visible_or_changed_unless_it_is_asked_for() {
        let run = run("");
        assert_eq!((run.events(), run.status_targets(), run.visible.write_back), (Ok(None), Ok(vec![]), false));
    }

    #[test]
    fn the_pod_is_that_of_the_downward_api_and_a_missing_variable_is_named() {
        let mut run = run("");
        run.visible.events = Events::Pod;
        let pod = Pod { namespace: "cams".to_owned(), name: "nvr-0".to_owned(), uid: "u-1".to_owned() };
        assert_eq!(run.events(), Ok(Some(pod)));
        run.visible.pod_uid = Some(String::new());
        assert!(run.events().expect_err("no uid").contains("POD_UID"));
        run.visible.status_annotation = true;
        assert!(run.status_targets().expect_err("no uid").starts_with("--status-annotation needs POD_UID"));
    }

    #[test]
    fn the_status_goes_into_a_config_map_that_is_not_the_configuration() {
        let target =
            |namespace: &str, name: &str| StatusTarget::ConfigMap { namespace: namespace.into(), name: name.into() };
        let targets = |text: &str| {
            let mut run = run("");
            run.visible.status_configmap = Some(text.to_owned());
            run.status_targets()
        };
        assert_eq!(targets("status"), Ok(vec![target("cams", "status")]));
        assert_eq!(targets("other/uplinks"), Ok(vec![target("other", "uplinks")]));
        assert!(targets("uplinks").expect_err("the configuration").contains("name another one"));
        assert!(targets("cams/a/b").is_err() && targets("Cams/a").is_err());
    }

    #[test]
    fn write_back_is_for_a_config_map_only() {
        assert!(run("--write-back").visible.write_back);
        let error = parse("onvif-uplink run --config u --write-back".split(' ')).expect_err("a file").to_string();
        assert!(error.contains("--configmap"), "{error}");
    }
}
