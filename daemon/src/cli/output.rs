//! The only place that writes to stdout and stderr.

use std::io::{self, BufWriter, IsTerminal, Write};

use anstyle::Style;
use clap::ValueEnum;

/// Stdout, or what stands in for it in a test.
pub(super) struct Out {
    writer: BufWriter<Box<dyn Write>>,
    is_stdout: bool,
}

impl Out {
    pub(super) fn stdout() -> Self {
        Self { is_stdout: true, ..Self::to(io::stdout()) }
    }

    pub(super) fn to(writer: impl Write + 'static) -> Self {
        Self { writer: BufWriter::new(Box::new(writer)), is_stdout: false }
    }

    /// Writes a line. It may stay in memory until the next [`Out::flush`].
    ///
    /// # Errors
    /// What the system says; a closed pipe is one of them.
    pub(super) fn line(&mut self, line: &str) -> io::Result<()> {
        self.writer.write_all(line.as_bytes())?;
        self.writer.write_all(b"\n")
    }

    /// Writes out what is in memory.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }

    /// Waits until whoever reads stdout is gone: a tail piped into `head` has nothing to write that would tell.
    pub(super) fn closed(&self) -> impl Future<Output = ()> + use<> {
        let is_stdout = self.is_stdout;
        async move {
            if is_stdout {
                // Ends with the process if nothing happens.
                let _ = tokio::task::spawn_blocking(wait_for_hangup).await;
            } else {
                std::future::pending().await
            }
        }
    }

    /// For libraries that write by themselves.
    pub(super) fn writer(&mut self) -> &mut dyn Write {
        &mut self.writer
    }
}

fn wait_for_hangup() {
    use rustix::event::{PollFd, PollFlags, poll};

    let stdout = io::stdout();
    loop {
        // Asks for nothing: errors and hang-ups are told all the same. A file has none, and is waited on for ever.
        match poll(&mut [PollFd::new(&stdout, PollFlags::empty())], None) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(_) | Err(_) => return,
        }
    }
}

/// Says something to the person at the terminal. Where stderr is closed nobody is there to be told.
pub(super) fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "refwatch: {text}");
}

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum ColorWhen {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    Always,
    Never,
}

/// Puts colours around words, or leaves them plain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    Plain,
    Coloured,
}

impl Paint {
    /// What fits stdout.
    pub(super) fn for_stdout(when: ColorWhen) -> Self {
        let coloured = match when {
            ColorWhen::Always => true,
            ColorWhen::Never => false,
            // It knows NO_COLOR, CLICOLOR_FORCE, TERM and CI.
            ColorWhen::Auto => {
                let stdout = io::stdout();
                anstream::AutoStream::choice(&stdout) != anstream::ColorChoice::Never && stdout.is_terminal()
            }
        };
        if coloured { Self::Coloured } else { Self::Plain }
    }

    pub(super) fn paint(self, style: Style, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Coloured => format!("{style}{text}{style:#}"),
        }
    }
}
