//! Servers, agents, clients and a story, all from one seed, on one thread and in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agentainer::agent::Uid;
use agentainer::agent::spec::{Order, Persistence};
use agentainer::front::Limits;
use agentainer::journal::{Capability, News, RecordId, RequestJournal};
use agentainer::proxy::{Ended, Keeping};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::agents::{Agent, Recorder};
use crate::fake_journal::{FakeJournal, Fault, reads};
use crate::history::{Final, History};
use crate::history_clients::{Outcome, send};
use crate::lies::{Liar, Lie, Shared};
use crate::rig::Rig;
use crate::wishes;

/// A server's data path on this journal, which delivers nothing yet.
pub fn keeps(journal: impl RequestJournal + 'static) -> Rig {
    let keeping = Keeping {
        journal: Arc::new(journal),
        news: Arc::new(News::default()),
        in_memory: false,
        events: None,
        callable: agentainer::callback::Rules::default(),
    };
    let hold = Duration::from_millis(100);
    Rig::built(hold, Limits::default(), |proxy| proxy.keeping(keeping))
}

/// From now on it delivers.
pub fn delivers(rig: &Rig) -> JoinHandle<()> {
    let ended: Arc<Ended> = Arc::new(|_| Box::pin(std::future::ready(Vec::new())));
    tokio::spawn(Arc::clone(&rig.proxy).deliver(ended, CancellationToken::new()))
}

/// What goes wrong at a call of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Fails(Fault),
    /// The server dies, and the call does not happen.
    DiesBefore,
    /// The server dies, and the call happens.
    DiesAfter,
}

/// At which call of which server.
#[derive(Clone, Copy, Debug)]
pub struct Strike {
    pub server: usize,
    pub call: usize,
    pub how: How,
}

/// One run.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub seed: u64,
    pub servers: usize,
    pub lie: Option<Lie>,
    pub strike: Option<Strike>,
    /// More goes wrong, by chance.
    pub chaos: bool,
}

/// What came of it.
pub struct Run {
    pub history: History,
    /// Calls of the journal that each server made.
    pub calls: Vec<usize>,
}

#[derive(Clone, Debug)]
enum Event {
    Send,
    StartAgent(usize),
    KillAgent(usize),
    /// The table is told what the agent is now.
    Publish(usize),
    KillServer(usize),
    StartServer(usize),
    RedisDies,
}

struct Server {
    rig: Rig,
    deliver: JoinHandle<()>,
    dead: Arc<AtomicBool>,
}

struct World {
    plan: Plan,
    chance: Arc<Mutex<StdRng>>,
    recorder: Arc<Recorder>,
    journal: FakeJournal,
    shared: Arc<Shared>,
    servers: Vec<Option<Server>>,
    agents: Vec<Agent>,
    calls: Arc<Mutex<Vec<usize>>>,
    troubles: Arc<Mutex<Vec<(u64, u64)>>>,
    died: mpsc::UnboundedSender<usize>,
    /// By when they happen.
    events: BTreeMap<(u64, usize), Event>,
    sent: u32,
    clients: Vec<JoinHandle<Outcome>>,
}

/// Requests of a run.
const REQUESTS: u32 = 24;
/// A run is over by then, in virtual milliseconds.
const LONGEST: u64 = 900_000;

/// Plays one run to its end.
pub fn run(plan: &Plan) -> Run {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let (died, mut deaths) = mpsc::unbounded_channel();
        let mut world = World::new(plan.clone(), died);
        world.play(&mut deaths).await;
        world.history().await
    })
}

impl World {
    fn new(plan: Plan, died: mpsc::UnboundedSender<usize>) -> Self {
        let recorder = Recorder::new();
        let agents = ["users", "ledger"].map(|name| Agent::new(name, &recorder));
        let mut world = Self {
            chance: Arc::new(Mutex::new(StdRng::seed_from_u64(plan.seed))),
            recorder,
            journal: FakeJournal::default(),
            shared: Arc::default(),
            servers: Vec::new(),
            agents: agents.into(),
            calls: Arc::new(Mutex::new(vec![0; plan.servers])),
            troubles: Arc::default(),
            died,
            events: BTreeMap::new(),
            sent: 0,
            clients: Vec::new(),
            plan,
        };
        for index in 0..world.plan.servers {
            let server = world.server(index);
            world.servers.push(Some(server));
        }
        world.story();
        world
    }

    fn at(&mut self, time: u64, event: Event) {
        let next = self.events.len() + self.sent as usize;
        let mut key = (time, next);
        while self.events.contains_key(&key) {
            key.1 += 1;
        }
        self.events.insert(key, event);
    }

    fn story(&mut self) {
        for agent in 0..self.agents.len() {
            self.at(0, Event::Publish(agent));
            self.at(1000 + 200 * agent as u64, Event::StartAgent(agent));
        }
        for n in 0..u64::from(REQUESTS) {
            let first = n < u64::from(REQUESTS / 2);
            let late = 2500 + 400 * n.saturating_sub(u64::from(REQUESTS / 2));
            let time = if first { 20 * n } else { late };
            self.at(time, Event::Send);
        }
        self.at(120, Event::RedisDies);
        self.at(6100, Event::KillAgent(0));
        self.at(6900, Event::StartAgent(0));
        self.at(8000, Event::KillServer(0));
        if self.plan.chaos {
            let mut chance = StdRng::seed_from_u64(!self.plan.seed);
            for _ in 0..3 {
                let agent = chance.random_range(0..self.agents.len());
                let time = chance.random_range(1000..20_000);
                self.at(time, Event::KillAgent(agent));
                self.at(
                    time + chance.random_range(200..3000),
                    Event::StartAgent(agent),
                );
                let server = chance.random_range(0..self.plan.servers);
                self.at(chance.random_range(100..20_000), Event::KillServer(server));
            }
        }
    }

    fn server(&self, index: usize) -> Server {
        let dead = Arc::new(AtomicBool::new(false));
        let journal = self.journal.another();
        journal.on_call({
            let (dead, died) = (Arc::clone(&dead), self.died.clone());
            let (calls, chance) = (Arc::clone(&self.calls), Arc::clone(&self.chance));
            let (recorder, troubles) = (Arc::clone(&self.recorder), Arc::clone(&self.troubles));
            let (strike, chaos) = (self.plan.strike, self.plan.chaos);
            move |name| {
                if dead.load(Ordering::SeqCst) {
                    return Some(Fault::Hang);
                }
                let call = {
                    let mut calls = calls.lock();
                    calls[index] += 1;
                    calls[index] - 1
                };
                let struck = strike.filter(|it| it.server == index && it.call == call);
                let how = match struck {
                    Some(strike) => strike.how,
                    None if chaos && chance.lock().random_bool(0.03) => {
                        by_chance(&mut chance.lock(), name)
                    }
                    None => return None,
                };
                let now = recorder.now();
                troubles.lock().push((now, now + 2000));
                let dies = |fault| {
                    dead.store(true, Ordering::SeqCst);
                    let _ = died.send(index);
                    fault
                };
                Some(match how {
                    How::Fails(fault) => fault,
                    How::DiesBefore => dies(Fault::Hang),
                    How::DiesAfter => dies(Fault::Mute),
                })
            }
        });
        let liar = Liar {
            journal,
            lie: self.plan.lie,
            shared: Arc::clone(&self.shared),
        };
        let rig = keeps(liar);
        for agent in &self.agents {
            publish(&rig, agent);
        }
        Server {
            deliver: delivers(&rig),
            rig,
            dead,
        }
    }

    async fn play(&mut self, deaths: &mut mpsc::UnboundedReceiver<usize>) {
        let begin = Instant::now();
        loop {
            let next = self.events.first_key_value().map(|(key, _)| *key);
            let time = next.map_or(self.recorder.now() + 500, |(time, _)| time);
            let until = begin + Duration::from_millis(time);
            tokio::select! {
                biased;
                Some(index) = deaths.recv() => self.kill(index).await,
                () = tokio::time::sleep_until(until) => match next {
                    Some(key) => {
                        let event = self.events.remove(&key).unwrap();
                        self.happens(event).await;
                    }
                    None if self.settled() || self.recorder.now() > LONGEST => break,
                    None => {}
                }
            }
        }
    }

    fn settled(&self) -> bool {
        let records = self.journal.records();
        let clients = self.clients.iter().all(JoinHandle::is_finished);
        clients
            && records
                .iter()
                .all(|record| record.standing.state.is_settled())
    }

    async fn happens(&mut self, event: Event) {
        let now = self.recorder.now();
        match event {
            Event::Send => {
                let wish = wishes::by_chance(self.sent, &mut self.chance.lock());
                let server = self.sent as usize % self.plan.servers;
                self.sent += 1;
                let to = self.servers[server]
                    .as_ref()
                    .map(|server| server.rig.address);
                let recorder = Arc::clone(&self.recorder);
                let sent = send(to, wish, move || recorder.now());
                self.clients.push(tokio::spawn(sent));
            }
            Event::StartAgent(agent) => {
                if self.agents[agent].place.is_none() {
                    self.agents[agent].start().await;
                    self.happens_to_the_table(agent);
                }
            }
            Event::KillAgent(agent) => {
                self.troubles.lock().push((now, now));
                self.agents[agent].kill();
                self.at(now + 150, Event::Publish(agent));
            }
            Event::Publish(agent) => self.happens_to_the_table(agent),
            Event::KillServer(index) => self.kill(index).await,
            Event::StartServer(index) => {
                if self.servers[index].is_none() {
                    self.servers[index] = Some(self.server(index));
                }
            }
            Event::RedisDies => *self.shared.died.lock() = Some(Instant::now()),
        }
    }

    fn happens_to_the_table(&self, agent: usize) {
        for server in self.servers.iter().flatten() {
            publish(&server.rig, &self.agents[agent]);
        }
    }

    /// `kill -9` of a server, which is started again.
    async fn kill(&mut self, index: usize) {
        let Some(server) = self.servers[index].take() else {
            return;
        };
        let now = self.recorder.now();
        self.troubles.lock().push((now, now));
        server.dead.store(true, Ordering::SeqCst);
        server.deliver.abort();
        server.rig.front.shutdown(Duration::ZERO).await;
        server.rig.proxy.drain(Duration::ZERO).await;
        self.at(now + 700, Event::StartServer(index));
    }

    async fn history(self) -> Run {
        let mut history = History {
            got: self.recorder.all(),
            troubles: self.troubles.lock().clone(),
            strict: BTreeSet::from(["ledger".to_owned()]),
            max_retries: 3,
            lease: 15_000,
            margin: 1000,
            ..History::default()
        };
        let records = self.journal.records();
        for client in self.clients {
            let Outcome { sent, secret } = client.await.unwrap();
            if let (Some(id), Some(secret)) = (promised(&sent.promise), secret) {
                let id = RecordId::parse(id).unwrap();
                let record = records.iter().find(|record| record.id == id);
                let opens = |hash: &str| Capability::shown(&secret).opens(hash);
                if let Some(record) = record.filter(|record| opens(&record.capability)) {
                    let state = record.standing.state.word().to_owned();
                    history.opened.insert(id.to_string(), state);
                }
            }
            history.sent.push(sent);
        }
        let journal = self.journal.another();
        for record in records {
            let body = journal
                .answer_body(&record.id)
                .await
                .unwrap()
                .unwrap_or_default();
            let of = String::from_utf8(body.to_vec()).unwrap();
            let of = of.split(' ').next().and_then(|word| word.parse().ok());
            history.records.push(Final {
                id: record.id.to_string(),
                target: record.head.target,
                state: record.standing.state.word().to_owned(),
                attempts: record.standing.attempts,
                answer: record.answer.map(|answer| (answer.status, of)),
            });
        }
        let calls = self.calls.lock().clone();
        Run { history, calls }
    }
}

fn by_chance(chance: &mut StdRng, name: &str) -> How {
    match chance.random_range(0..10) {
        0 => How::DiesBefore,
        1 => How::DiesAfter,
        2..4 => How::Fails(Fault::After),
        4..6 => How::Fails(Fault::Slow {
            before: Duration::from_secs(1),
            after: Duration::from_secs(1),
        }),
        6 => How::Fails(Fault::Late(Duration::from_secs(8))),
        7 if reads(name) => How::Fails(Fault::Old),
        _ => How::Fails(Fault::Before),
    }
}

/// The id that a client was told.
fn promised(promise: &crate::history::Promise) -> Option<&str> {
    use crate::history::Promise::{Kept, Unknown};
    match promise {
        Kept { id } | Unknown { id } => Some(id),
        _ => None,
    }
}

fn publish(rig: &Rig, agent: &Agent) {
    let place = agent.place.iter();
    let containers: Vec<(&str, SocketAddr)> = place
        .map(|(container, address)| (container.as_str(), *address))
        .collect();
    rig.publish(agent.name, &containers, |publication| {
        publication.uid = Uid(format!("life-of-{}", agent.name));
        publication.explanation = "it is down".to_owned();
        let mut persistence = Persistence::default();
        if agent.name == "ledger" {
            persistence.order = Order::Strict;
        }
        publication.persistence = Some(persistence);
    });
}
