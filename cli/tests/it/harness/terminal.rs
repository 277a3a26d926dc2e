//! A terminal, as a person has one: a program sees it as its output, and what it shows can be read.

use std::{
    fs::File,
    io::Read as _,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rustix::{
    fs::{Mode, OFlags, open},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use super::TEST_TIMEOUT;

/// A program on a terminal of 100 columns and 24 lines.
pub(crate) struct Terminal {
    child: Child,
    shown: Arc<Mutex<Vec<u8>>>,
    // It stays open, or the program would be hung up on.
    _master: File,
}

impl Terminal {
    /// Starts a program whose standard output and standard error are the terminal.
    pub(crate) fn start(mut command: Command) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("a terminal of ours");
        let size = Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).expect("its size is set");
        let name = ptsname(&master, Vec::new()).expect("its name");
        let slave = File::from(open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("its other end"));
        command.env("TERM", "xterm").stdin(Stdio::null());
        command.stdout(slave.try_clone().expect("a copy")).stderr(slave);
        let child = command.spawn().expect("the program starts");
        // With it our copies of the other end are closed, so that reading ends with the program.
        drop(command);
        let master = File::from(master);
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (mut source, sink) = (master.try_clone().expect("a copy"), shown.clone());
        std::thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(length @ 1..) = source.read(&mut bytes) {
                sink.lock().expect("nobody panics").extend_from_slice(&bytes[..length]);
            }
        });
        Self { child, shown, _master: master }
    }

    /// All that it was sent so far, escape sequences too.
    pub(crate) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().expect("nobody panics")).into_owned()
    }

    /// Waits until it was sent this.
    pub(crate) fn wait_for(&self, text: &str) {
        self.wait_until(text, |shown| shown.contains(text));
    }

    /// Waits until what it was sent is as it should be.
    pub(crate) fn wait_until(&self, what: &str, is_so: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + TEST_TIMEOUT;
        while !is_so(&self.shown()) {
            assert!(Instant::now() < deadline, "{what} is not in {:?}", self.shown());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: &str) {
        let kill = format!("kill -{signal} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().expect("sh runs").success());
    }

    /// Waits for its end; answers its exit code.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let deadline = Instant::now() + TEST_TIMEOUT;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it still runs: {:?}", self.shown());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
