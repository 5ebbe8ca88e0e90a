//! Ports that stay ours while the server behind them is down.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Result, bail};

/// Below the range from which the system takes the ports of outgoing connections, so that none of them takes ours.
const PORTS: std::ops::Range<u16> = 16_000..32_000;

/// A loopback port, reserved among all users of this module on the machine.
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// Reserves a free port.
    ///
    /// # Errors
    /// When there is none.
    pub fn reserve() -> Result<Self> {
        let span = PORTS.end - PORTS.start;
        // Where to begin does not matter; beginning apart saves parallel tests from asking for each other's.
        let first = (std::process::id().wrapping_mul(31) % u32::from(span)) as u16;
        for step in 0..span {
            let number = PORTS.start + (first + step) % span;
            let lock = File::create(std::env::temp_dir().join(format!("nightlatch-port-{number}.lock")))?;
            if lock.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Ok(Self { number, _lock: lock });
            }
        }
        bail!("no free port")
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }
}
