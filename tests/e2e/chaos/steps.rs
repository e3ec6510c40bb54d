//! What goes wrong, one step after the other, by chance.

use std::process::Command;

use rand::RngExt as _;
use rand::rngs::StdRng;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::{AGENTS, clock};
use crate::server::{Server, docker_says, pause};

pub struct Steps {
    begin: u64,
    chance: StdRng,
    /// From, until: in milliseconds since the run began.
    pub troubles: Vec<(u64, u64)>,
}

/// How long a killed Redis may be away.
const AWAY: u64 = 5000;

impl Steps {
    pub fn new(begin: u64, chance: StdRng) -> Self {
        Self {
            begin,
            chance,
            troubles: Vec::new(),
        }
    }

    fn now(&self) -> u64 {
        clock() - self.begin
    }

    /// Tells of it, and remembers when it was.
    fn tell(&mut self, what: &str, lasts: u64) {
        let now = self.now();
        println!("{now:>7} ms  {what}");
        self.troubles.push((now, now + lasts));
    }

    /// What was told of last went on until now.
    fn lasted(&mut self) {
        let now = self.now();
        if let Some((_, until)) = self.troubles.last_mut() {
            *until = now.max(*until);
        }
    }

    fn rest(&mut self, least: u64, most: u64) {
        let until = self.now() + self.chance.random_range(least..most);
        while self.now() < until {
            pause();
        }
    }

    /// Waits a moment and breaks something.
    pub fn one(&mut self, server: &mut Server) {
        self.rest(700, 3500);
        let agent = AGENTS[self.chance.random_range(0..AGENTS.len())];
        match self.chance.random_range(0..9) {
            0 | 1 => {
                self.tell("kill -9 of the server", 0);
                server.kill();
                server.launch();
                self.lasted();
                println!("{:>7} ms  the server is back", self.now());
            }
            2 => {
                if let Some(pid) = redis(server) {
                    self.tell("kill -9 of Redis", AWAY);
                    let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
                }
            }
            3 => {
                if let (Some(pid), Some(size)) = (redis(server), written(server)) {
                    self.tell("Redis' disk is full", AWAY);
                    let full = Rlimit {
                        current: Some(size + 3000),
                        maximum: None,
                    };
                    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
                    // A write goes as far as there is room, and Redis ends itself; or it has ended just now.
                    let _ = prlimit(pid, Resource::Fsize, full);
                }
            }
            4 | 5 => self.remove(server, agent, &["kill", "-s", "KILL"]),
            6 => self.remove(server, agent, &["rm", "-f"]),
            7 => {
                println!("{:>7} ms  stop and start of {agent}", self.now());
                server.cli(&["stop", agent]);
                self.rest(500, 2500);
                server.cli(&["start", agent]);
            }
            _ => {
                println!("{:>7} ms  rollout of {agent}", self.now());
                server.cli(&["rollout", "restart", agent]);
            }
        }
    }

    fn remove(&mut self, server: &Server, agent: &str, words: &[&str]) {
        let all = server.containers(agent);
        if all.is_empty() {
            return;
        }
        let one = &all[self.chance.random_range(0..all.len())];
        self.tell(
            &format!("docker {} {agent} {}", words.join(" "), &one[..12]),
            0,
        );
        // Somebody may have been faster.
        docker_says(&[words, &[one.as_str()]].concat());
        self.lasted();
    }

    /// Nothing is broken any more, and all agents run.
    pub fn all_is_mended(&self, server: &Server) {
        println!("{:>7} ms  all is to be mended", self.now());
        for agent in AGENTS {
            server.eventually("it is started", |server| {
                server.cli(&["start", agent]).status.success()
            });
        }
        server.eventually("all are ready", |server| {
            AGENTS.iter().all(|agent| server.is_ready(agent))
        });
    }
}

/// The process of the server's own Redis.
fn redis(server: &Server) -> Option<u32> {
    let file = server.data_dir().join("control-redis/data/redis.pid");
    let pid = std::fs::read_to_string(file).ok()?.trim().parse().ok()?;
    // The file outlives the process, whose id may be another's by now.
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let ours = String::from_utf8_lossy(&line).contains(&*server.data_dir().to_string_lossy());
    ours.then_some(pid)
}

/// How long the file is that it writes to.
fn written(server: &Server) -> Option<u64> {
    let folder = server.data_dir().join("control-redis/data/appendonlydir");
    let files = std::fs::read_dir(folder).ok()?.flatten();
    let lengths = files
        .filter_map(|file| file.metadata().ok())
        .map(|it| it.len());
    lengths.max()
}
