//! Why a machine allows no sandbox, and what to change.
//!
//! The judgement is pure; the settings it needs are read in one place. Never changes a setting.

use std::fs;

use nix::libc::{EACCES, EINVAL, ENOSPC, ENOSYS, EPERM};

use super::error::SandboxError;
use super::stage::Stage;

/// What keeps this machine from making sandboxes. Its text names the remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// The kernel was built without a kind of namespace, or is older than 5.6.
    #[error("the kernel lacks namespaces or openat2; use Linux 5.6 or later with CONFIG_USER_NS")]
    Kernel,
    /// The number of namespaces is limited to 0, or used up.
    #[error("the limit on namespaces is reached; raise the sysctls user.max_*_namespaces")]
    NamespaceLimit,
    /// Debian's switch.
    #[error("user namespaces are switched off; set the sysctl kernel.unprivileged_userns_clone=1")]
    SwitchedOff,
    /// Ubuntu's restriction, since 23.10.
    #[error(
        "AppArmor restricts user namespaces; give quicc a profile with the rule `userns,` \
         or set the sysctl kernel.apparmor_restrict_unprivileged_userns=0"
    )]
    AppArmor,
    /// A container hides parts of `/proc`, and then the kernel refuses every further one.
    #[error(
        "a container masks /proc; start it with --security-opt systempaths=unconfined \
         (Kubernetes: procMount: Unmasked)"
    )]
    MaskedProc,
    /// A system call filter, as container engines install.
    #[error(
        "a system call filter forbids namespaces or mounts; start the container with \
         --security-opt seccomp=unconfined --security-opt apparmor=unconfined \
         --security-opt systempaths=unconfined"
    )]
    Seccomp,
    /// The executable lies where the build user cannot execute it.
    #[error("the build user cannot execute quicc; put it where every user can read and execute it")]
    Executable,
    /// Root lacks the right to give a process another user id.
    #[error("root here cannot give jobs a user of their own; grant CAP_SETUID, CAP_SETGID and CAP_SETFCAP")]
    Capabilities,
    /// None of the known ones.
    #[error("the cause is none of the known ones")]
    Unknown,
}

/// What this machine says about namespaces; none where it has no such setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    max_user_namespaces: Option<u64>,
    unprivileged_userns_clone: Option<u64>,
    apparmor_restriction: Option<u64>,
    seccomp_mode: Option<u64>,
    privileged: bool,
}

impl Settings {
    pub(super) fn of_this_machine() -> Self {
        Self {
            max_user_namespaces: setting("/proc/sys/user/max_user_namespaces"),
            unprivileged_userns_clone: setting("/proc/sys/kernel/unprivileged_userns_clone"),
            apparmor_restriction: setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
            seccomp_mode: fs::read_to_string("/proc/self/status")
                .ok()
                .and_then(|status| number(status.lines().find_map(|line| line.strip_prefix("Seccomp:"))?)),
            privileged: nix::unistd::geteuid().is_root(),
        }
    }
}

fn setting(file: &str) -> Option<u64> {
    number(&fs::read_to_string(file).ok()?)
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The obstacle behind `error`; none if that is not a matter of what the machine allows.
pub(super) fn diagnose(error: &SandboxError, settings: &Settings) -> Option<Obstacle> {
    match error {
        SandboxError::Setup { stage, source, .. } => {
            Some(behind(*stage, source.raw_os_error().unwrap_or(0), settings))
        }
        SandboxError::MapUser { .. } if settings.privileged => Some(Obstacle::Capabilities),
        SandboxError::MapUser { .. } => Some(forbidden(settings)),
        _ => None,
    }
}

fn behind(stage: Stage, errno: i32, settings: &Settings) -> Obstacle {
    match (stage, errno) {
        (Stage::Unshare, ENOSPC) => Obstacle::NamespaceLimit,
        (Stage::Unshare, EINVAL) | (_, ENOSYS) => Obstacle::Kernel,
        (Stage::StartSupervisor, EACCES) => Obstacle::Executable,
        // What else forbids mounts has forbidden one before this.
        (Stage::MountProc, EPERM) => Obstacle::MaskedProc,
        (_, EPERM | EACCES) => forbidden(settings),
        _ => Obstacle::Unknown,
    }
}

/// Several may be in the way; the most particular is named first.
fn forbidden(settings: &Settings) -> Obstacle {
    if settings.max_user_namespaces == Some(0) {
        Obstacle::NamespaceLimit
    } else if settings.unprivileged_userns_clone == Some(0) && !settings.privileged {
        Obstacle::SwitchedOff
    } else if settings.seccomp_mode.is_some_and(|mode| mode != 0) {
        Obstacle::Seccomp
    } else if settings.apparmor_restriction == Some(1) && !settings.privileged {
        Obstacle::AppArmor
    } else {
        Obstacle::Unknown
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;

    use super::*;

    const OPEN: Settings = Settings {
        max_user_namespaces: Some(100),
        unprivileged_userns_clone: None,
        apparmor_restriction: None,
        seccomp_mode: Some(0),
        privileged: false,
    };

    fn setup(stage: Stage, errno: i32) -> SandboxError {
        SandboxError::Setup {
            stage,
            path: PathBuf::new(),
            source: io::Error::from_raw_os_error(errno),
        }
    }

    fn map() -> SandboxError {
        SandboxError::MapUser {
            file: PathBuf::new(),
            source: io::Error::from_raw_os_error(EPERM),
        }
    }

    fn check(error: &SandboxError, settings: Settings, expected: Option<Obstacle>) {
        assert_eq!(diagnose(error, &settings), expected, "{error:?} {settings:?}");
    }

    #[test]
    fn the_obstacle_is_named() {
        let docker = Settings {
            seccomp_mode: Some(2),
            ..OPEN
        };
        let ubuntu = Settings {
            apparmor_restriction: Some(1),
            ..OPEN
        };
        let debian = Settings {
            unprivileged_userns_clone: Some(0),
            ..OPEN
        };
        let none = Settings {
            max_user_namespaces: Some(0),
            ..OPEN
        };
        let unshare = setup(Stage::Unshare, EPERM);
        check(&unshare, docker, Some(Obstacle::Seccomp));
        check(&unshare, ubuntu, Some(Obstacle::AppArmor));
        check(
            &unshare,
            Settings {
                privileged: true,
                ..ubuntu
            },
            Some(Obstacle::Unknown),
        );
        check(&unshare, debian, Some(Obstacle::SwitchedOff));
        check(&unshare, none, Some(Obstacle::NamespaceLimit));
        check(&unshare, OPEN, Some(Obstacle::Unknown));
        check(
            &setup(Stage::Unshare, ENOSPC),
            OPEN,
            Some(Obstacle::NamespaceLimit),
        );
        check(&setup(Stage::Unshare, EINVAL), OPEN, Some(Obstacle::Kernel));
        check(&setup(Stage::BindRoot, ENOSYS), OPEN, Some(Obstacle::Kernel));
        check(&setup(Stage::BindRoot, EACCES), ubuntu, Some(Obstacle::AppArmor));
        check(&setup(Stage::MountProc, EPERM), OPEN, Some(Obstacle::MaskedProc));
        check(
            &setup(Stage::MountProc, EPERM),
            docker,
            Some(Obstacle::MaskedProc),
        );
        check(
            &setup(Stage::StartSupervisor, EACCES),
            OPEN,
            Some(Obstacle::Executable),
        );
        check(&map(), ubuntu, Some(Obstacle::AppArmor));
        check(
            &map(),
            Settings {
                privileged: true,
                ..OPEN
            },
            Some(Obstacle::Capabilities),
        );
        check(
            &SandboxError::Stuck {
                bound: std::time::Duration::ZERO,
            },
            OPEN,
            None,
        );
    }

    #[test]
    fn this_machine_is_read() {
        let settings = Settings::of_this_machine();
        assert!(settings.seccomp_mode.is_some());
    }
}
