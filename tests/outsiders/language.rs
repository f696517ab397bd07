//! A program in each language, and what it is told and tells.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tests::{PATIENCE, Stack};
use workflows::keys;

use crate::parsed;

#[derive(Clone, Copy)]
pub(crate) enum Language {
    TypeScript,
    Python,
    /// Temporal's own command line.
    CommandLine,
}

/// How a task ended, as the program says.
#[derive(Debug, PartialEq)]
pub(crate) enum Ended {
    Well(Value),
    Failed { kind: String, message: String },
    Cancelled(Value),
}

/// A language's program, for a stack.
pub(crate) struct Program<'a> {
    stack: &'a Stack,
    language: Language,
    program: PathBuf,
    /// What comes before the command.
    first: Vec<PathBuf>,
    #[expect(dead_code, reason = "holds the folder")]
    folder: tempfile::TempDir,
}

impl Language {
    pub(crate) fn program(self, stack: &Stack) -> Program<'_> {
        let folder = tempfile::tempdir().unwrap();
        let examples = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../client/examples"));
        let (program, first) = match self {
            Language::TypeScript => {
                // Node looks for packages beside the program; the checkout stays as it is.
                let copy = folder.path().join("darkroom.mjs");
                std::fs::copy(examples.join("typescript/darkroom.mjs"), &copy).unwrap();
                let packages = outsiders().join("typescript/node_modules");
                std::os::unix::fs::symlink(packages, folder.path().join("node_modules")).unwrap();
                ("node".into(), vec![copy])
            }
            Language::Python => {
                (outsiders().join("python/bin/python"), vec![examples.join("python/darkroom.py")])
            }
            Language::CommandLine => {
                (std::env::var_os("DARKROOM_TEMPORAL").map_or("temporal".into(), PathBuf::from), vec![])
            }
        };
        Program { stack, language: self, program, first, folder }
    }
}

/// Where scripts/setup.sh has put Temporal's SDKs.
fn outsiders() -> PathBuf {
    std::env::var_os("DARKROOM_OUTSIDERS").map(PathBuf::from).expect(
        "DARKROOM_OUTSIDERS isn't set, so Temporal's SDKs for TypeScript and Python can't be found: run this by \
         `./test tests`, or by `scripts/setup.sh test cargo test …`, which install them and set it",
    )
}

impl Program<'_> {
    /// Starts a task; the workflow's id.
    ///
    /// The `temporal` command tells of a task that is there as an error.
    pub(crate) async fn start(&self, input: &Value) -> String {
        let json = input.to_string();
        let Language::CommandLine = self.language else {
            return self.succeed(&["start", &json]).await.trim_end().to_owned();
        };
        let id = keys::workflow_id(input["task_id"].as_str().unwrap());
        let target = ["--type", "generate_images", "--task-queue", "darkroom", "--workflow-id", &id];
        let policies = ["--id-conflict-policy", "Fail", "--id-reuse-policy", "AllowDuplicateFailedOnly"];
        let rest = ["--execution-timeout", "24h", "--input", &json];
        let (code, stdout, stderr) =
            self.run(&[&["workflow", "start"], &target[..], &policies, &rest].concat()).await;
        if code != 0 && stderr.contains("already") {
            return id;
        }
        assert_eq!(code, 0, "{stderr}");
        parsed(&stdout)["workflowId"].as_str().unwrap().to_owned()
    }

    /// What the query `progress` answers.
    pub(crate) async fn progress(&self, task_id: &str) -> Value {
        let id = keys::workflow_id(task_id);
        match self.language {
            Language::CommandLine => {
                let query = ["workflow", "query", "--workflow-id", &id, "--type", "progress"];
                parsed(&self.succeed(&query).await)["queryResult"][0].take()
            }
            Language::TypeScript | Language::Python => parsed(&self.succeed(&["progress", task_id]).await),
        }
    }

    /// Waits for a task's end.
    pub(crate) async fn result(&self, task_id: &str) -> Ended {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if let Language::CommandLine = self.language {
            let id = keys::workflow_id(task_id);
            let (_, stdout, stderr) = self.run(&["workflow", "result", "--workflow-id", &id]).await;
            assert_ne!(stdout, "", "{stderr}");
            let mut closed = parsed(&stdout);
            let event = &closed["closeEvent"];
            let failure = &event["workflowExecutionFailedEventAttributes"]["failure"];
            let details = &event["workflowExecutionCanceledEventAttributes"]["details"];
            return match closed["status"].as_str() {
                Some("COMPLETED") => Ended::Well(with_lists(closed["result"].take())),
                Some("FAILED") => Ended::Failed {
                    kind: text(&failure["applicationFailureInfo"]["type"]),
                    message: text(&failure["message"]),
                },
                Some("CANCELED") => Ended::Cancelled(with_lists(details[0].clone())),
                _ => panic!("{closed:#}"),
            };
        }
        let (code, stdout, stderr) = self.run(&["result", task_id]).await;
        match code {
            0 => Ended::Well(parsed(&stdout)),
            4 => {
                let failure = parsed(&stdout);
                Ended::Failed { kind: text(&failure["type"]), message: text(&failure["message"]) }
            }
            5 => Ended::Cancelled(parsed(&stdout)),
            other => panic!("{other}: {stderr}"),
        }
    }

    /// Asks a task to stop.
    pub(crate) async fn cancel(&self, task_id: &str) {
        let id = keys::workflow_id(task_id);
        match self.language {
            Language::CommandLine => self.succeed(&["workflow", "cancel", "--workflow-id", &id]).await,
            Language::TypeScript | Language::Python => self.succeed(&["cancel", task_id]).await,
        };
    }

    /// Runs the program, which must end with 0; what it prints.
    async fn succeed(&self, arguments: &[&str]) -> String {
        let (code, stdout, stderr) = self.run(arguments).await;
        assert_eq!(code, 0, "{arguments:?}: {stderr}");
        stdout
    }

    async fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let first = self.first.iter().map(|path| path.as_os_str());
        let format: &[&str] = match self.language {
            // Whatever the user keeps for the real thing stays out.
            Language::CommandLine => {
                &["--output", "json", "--disable-config-file", "--command-timeout", "60s"]
            }
            Language::TypeScript | Language::Python => &[],
        };
        let arguments = arguments.iter().chain(format).map(OsStr::new);
        run(self.stack, &self.program, first.chain(arguments)).await
    }
}

/// The `temporal` command prints an empty list as null.
fn with_lists(mut output: Value) -> Value {
    for list in ["images", "missing"] {
        if output[list].is_null() {
            output[list] = json!([]);
        }
    }
    output
}

/// Runs a program with the stack's Temporal in its environment; exit code, stdout, stderr.
pub(crate) async fn run(
    stack: &Stack,
    program: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> (i32, String, String) {
    let program = program.as_ref();
    let temporal = stack.environment().into_iter().filter(|(name, _)| name.starts_with("TEMPORAL_"));
    let child = tokio::process::Command::new(program)
        .args(arguments)
        .envs(temporal)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let ended = tokio::time::timeout(PATIENCE, child).await.expect("the program hangs");
    let output = ended.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}
