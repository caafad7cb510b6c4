//! Long links in virtual time: the product's endpoints, tuning and congestion control over a simulated network. No clock
//! of this machine is involved: what is printed repeats, but for what is lost at random.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::net::{Link, Net};
use crate::world::{World, job};

/// Megabits per second.
const RATES: [f64; 2] = [100.0, 1000.0];
const ROUND_TRIPS: [Duration; 3] = [
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
];
/// Bytes of a job each way.
const SIZES: [(usize, &str); 4] = [
    (2000, "2 kB"),
    (64_000, "64 kB"),
    (200_000, "200 kB"),
    (1_000_000, "1 MB"),
];
const LOSSES: [f64; 3] = [0.0, 0.005, 0.02];
/// Before a client comes back.
const AWAY: Duration = Duration::from_secs(600);
/// How long is uploaded.
const UPLOAD: Duration = Duration::from_secs(10);
/// How long a first connection uploads before the second begins.
const BEFORE: Duration = Duration::from_secs(3);
/// Decides what is lost at random.
const SEED: u64 = 1;

/// Prints the tables.
pub fn run() {
    latency();
    goodput();
}

/// What `measure` finds in each of `cases`, in their order; each in a time of its own, as many at once as there are
/// processors.
fn each<C: Copy + Send, T: Send>(cases: &[C], measure: impl AsyncFn(C) -> T + Sync) -> Vec<T> {
    let waiting: Mutex<VecDeque<_>> = Mutex::new(cases.iter().copied().enumerate().collect());
    let (done, measure) = (Mutex::new(Vec::new()), &measure);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().unwrap().pop_front();
                    let Some((place, case)) = next else { return };
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .start_paused(true)
                        .build();
                    let found = runtime.unwrap().block_on(measure(case));
                    done.lock().unwrap().push((place, found));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, found)| found).collect()
}

fn latency() {
    println!(
        "\nJobs of so many bytes up, then as many down, over a simulated link, in round trips: at the least (one round trip \
         and the bytes at the link's rate), the first from the decision to connect, the second, the first of a client \
         that comes back after {} s:",
        AWAY.as_secs()
    );
    println!(
        "{:>8}{:>8}{:>9}{:>9}{:>8}{:>8}{:>12}",
        "Mbit/s", "RTT ms", "each way", "least", "first", "second", "reconnect"
    );
    let mut cases = Vec::new();
    for rate in RATES {
        for round_trip in ROUND_TRIPS {
            cases.extend(SIZES.map(|size| (rate, round_trip, size)));
        }
    }
    let found = each(&cases, async |(rate, round_trip, (size, _))| {
        let world = World::new(Net::new(Link::new(rate, round_trip), SEED));
        let [first, second] = two_jobs(&world, size).await;
        tokio::time::sleep(AWAY).await;
        let [again, _] = two_jobs(&world, size).await;
        [first, second, again].map(|time| time.as_secs_f64() / round_trip.as_secs_f64())
    });
    for ((rate, round_trip, (size, name)), [first, second, again]) in cases.into_iter().zip(found) {
        let carried = 2.0 * size as f64 * 8.0 / (rate * 1e6);
        let least = 1.0 + carried / round_trip.as_secs_f64();
        println!(
            "{rate:8}{:8}{name:>9}{least:9.2}{first:8.2}{second:8.2}{again:12.2}",
            round_trip.as_millis()
        );
    }
}

/// What two jobs take one after the other on a new connection, the first from the decision to make it.
async fn two_jobs(world: &World, size: usize) -> [Duration; 2] {
    let since = Instant::now();
    let begun = world.open().await;
    let connection = begun.opened.connection.clone();
    let first = async {
        job(&connection, size, size).await;
        since.elapsed()
    };
    let (met, first) = tokio::join!(begun.meet(), first);
    let _far = met.unwrap();
    // What is acknowledged together is told within some milliseconds.
    tokio::time::sleep(connection.rtt()).await;
    let second = job(&connection, size, size).await;
    tokio::time::sleep(2 * connection.rtt()).await;
    connection.close(0_u32.into(), b"");
    [first, second]
}

#[derive(Debug, Clone, Copy)]
enum Flow {
    /// Of a client that knows nothing of the path.
    First,
    /// Of one that has used it before.
    Second,
    /// quinn's Cubic, with windows that do not limit it.
    Cubic,
}

const FLOWS: [Flow; 3] = [Flow::First, Flow::Second, Flow::Cubic];

fn goodput() {
    println!(
        "\nUploads of {} s over a simulated link whose queue holds one product of rate and round trip, Mbit/s that arrive: \
         on a first connection, on a second, and with quinn's Cubic and large windows:",
        UPLOAD.as_secs()
    );
    println!(
        "{:>8}{:>8}{:>8}{:>9}{:>9}{:>9}",
        "Mbit/s", "RTT ms", "loss %", "first", "second", "Cubic"
    );
    let mut cases = Vec::new();
    for rate in RATES {
        for round_trip in ROUND_TRIPS {
            for loss in LOSSES {
                cases.extend(FLOWS.map(|flow| (rate, round_trip, loss, flow)));
            }
        }
    }
    let found = each(&cases, async |(rate, round_trip, loss, flow)| {
        let link = Link::new(rate, round_trip).with_loss(loss);
        upload(&World::new(Net::new(link, SEED)), flow).await
    });
    for (case, found) in cases.chunks(FLOWS.len()).zip(found.chunks(FLOWS.len())) {
        let (rate, round_trip, loss, _) = case[0];
        println!(
            "{rate:8}{:8}{:8.1}{:9.0}{:9.0}{:9.0}",
            round_trip.as_millis(),
            loss * 100.0,
            found[0],
            found[1],
            found[2]
        );
    }
}

async fn upload(world: &World, flow: Flow) -> f64 {
    match flow {
        Flow::Cubic => world.rival().await.goodput(UPLOAD).await,
        Flow::First => world.connect().await.upload().goodput(UPLOAD).await,
        Flow::Second => {
            let first = world.connect().await;
            let bulk = first.upload();
            tokio::time::sleep(BEFORE).await;
            drop((bulk, first));
            world.connect().await.upload().goodput(UPLOAD).await
        }
    }
}
