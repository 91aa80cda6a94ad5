//! Limits for slow, silent and many clients, on paused time.

use super::*;
use crate::clock::ManualClock;
use axum::middleware;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

/// Listener whose clients come from a channel.
struct TestListener(mpsc::UnboundedReceiver<DuplexStream>);

impl Listener for TestListener {
    type Io = DuplexStream;
    type Addr = ();

    async fn accept(&mut self) -> (DuplexStream, ()) {
        match self.0.recv().await {
            Some(io) => (io, ()),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<()> {
        Ok(())
    }
}

struct House {
    listener: mpsc::UnboundedSender<DuplexStream>,
    /// `/slow` responds when it gets a permit.
    permits: Arc<Semaphore>,
    stop: CancellationToken,
}

fn house(open: usize, stay: Option<Duration>) -> House {
    let clock: SharedClock = ManualClock::at("2026-11-23T02:00:00Z".parse().unwrap());
    let permits = Arc::new(Semaphore::new(0));
    let waits = permits.clone();
    let slow = async move || {
        waits.acquire().await.map(tokio::sync::SemaphorePermit::forget).map_or("closed", |()| "done")
    };
    let routes = Router::new()
        .route("/health", get(async || "well"))
        .route("/slow", get(slow))
        .route("/long", get(async || "x".repeat(1 << 20)))
        .route("/act", post(async |body: String| body))
        .layer(middleware::from_fn_with_state(clock.clone(), whole_body));
    let (listener, clients) = mpsc::unbounded_channel();
    let stop = CancellationToken::new();
    let bounds = Bounds { listener: "http", open, stay };
    let tasks = Tasks::new();
    tasks.spawn(accept(TestListener(clients), routes, bounds, |_| (), (clock, tasks.clone()), stop.clone()));
    House { listener, permits, stop }
}

impl House {
    fn connect(&self) -> DuplexStream {
        let (ours, theirs) = duplex(1024);
        self.listener.send(theirs).unwrap();
        ours
    }

    /// Connects a client that sends `text` and waits.
    async fn reports(&self, text: &str) -> DuplexStream {
        let mut client = self.connect();
        client.write_all(text.as_bytes()).await.unwrap();
        client
    }

    async fn health(&self) -> String {
        rest(&mut self.reports("GET /health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await).await
    }
}

/// Reads the rest until the connection is closed.
async fn rest(client: &mut DuplexStream) -> String {
    let mut text = String::new();
    let _ = client.read_to_string(&mut text).await;
    text
}

/// Runs all tasks until each of them waits for time to pass.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn incomplete_request_head_times_out_after_ten_seconds() {
    let house = house(4, None);
    for begun in ["", "GET /health HTTP/1.1\r\nHost: h\r\nX-Slow: "] {
        let began = Instant::now();
        let mut client = house.reports(begun).await;
        assert_eq!(rest(&mut client).await, "", "{begun}");
        assert_eq!(began.elapsed().as_secs(), 10, "{begun}");
    }
}

#[tokio::test(start_paused = true)]
async fn single_bytes_do_not_extend_the_head_timeout() {
    let house = house(4, None);
    let began = Instant::now();
    let mut client = house.reports("GET /health HTTP/1.1\r\nX-Slow: ").await;
    while client.write_all(b"x").await.is_ok() {
        tokio::time::advance(Duration::from_secs(1)).await;
        settle().await;
    }
    assert!((10..=11).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn incomplete_request_body_gets_408_after_ten_seconds() {
    let house = house(4, None);
    let began = Instant::now();
    let mut client = house.reports("POST /act HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf").await;
    let response = rest(&mut client).await;
    assert!(response.starts_with("HTTP/1.1 408 "), "{response}");
    assert!(response.ends_with(r#""detail":"the body did not arrive within 10 s","status":408,"title":"Request Timeout","type":"about:blank"}"#), "{response}");
    assert_eq!(began.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn idle_connection_is_closed_after_ten_seconds() {
    let house = house(4, None);
    let began = Instant::now();
    let mut client = house.reports("GET /health HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert!(rest(&mut client).await.ends_with("\r\n\r\nwell"));
    assert_eq!(began.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn oldest_idle_connection_is_closed_for_a_new_one() {
    let house = house(3, None);
    let mut silent =
        [house.connect(), house.reports("GET /hea").await, house.reports("POST /act HTTP/1.1\r\n").await];
    settle().await;
    let began = Instant::now();
    assert!(house.health().await.ends_with("\r\n\r\nwell"));
    assert_eq!(rest(&mut silent[0]).await, "");
    assert_eq!(began.elapsed(), Duration::ZERO);
    // The head timeout of the two other connections has not passed yet.
    silent[1].write_all(b"lth HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(rest(&mut silent[1]).await.ends_with("\r\n\r\nwell"));
    silent[2].write_all(b"Connection: close\r\nContent-Length: 3\r\n\r\nyes").await.unwrap();
    assert!(rest(&mut silent[2]).await.ends_with("\r\n\r\nyes"));
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn slow_body_and_unread_response_do_not_keep_a_slot() {
    let house = house(2, None);
    let _slow = house.reports("POST /act HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf").await;
    let _unread = house.reports("GET /long HTTP/1.1\r\n\r\n").await;
    settle().await;
    let began = Instant::now();
    for _ in 0..2 {
        assert!(house.health().await.ends_with("\r\n\r\nwell"));
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn working_connection_is_not_closed_for_a_new_one() {
    let house = house(2, None);
    let slow = "GET /slow HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let mut working = [house.reports(slow).await, house.reports(slow).await];
    settle().await;
    let began = Instant::now();
    assert_eq!(house.health().await, "", "closed at once");
    assert_eq!(began.elapsed(), Duration::ZERO);
    tokio::time::advance(Duration::from_secs(300)).await;
    settle().await;
    house.permits.add_permits(2);
    for client in &mut working {
        assert!(rest(client).await.ends_with("\r\n\r\ndone"));
    }
    assert!(house.health().await.ends_with("\r\n\r\nwell"));
}

#[tokio::test(start_paused = true)]
async fn connection_is_closed_after_its_maximum_age() {
    let house = house(2, Some(Duration::from_secs(60)));
    let began = Instant::now();
    let _unread = house.reports("GET /long HTTP/1.1\r\n\r\n").await;
    let mut chatty = house.connect();
    let mut responses = 0;
    while chatty.write_all(b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n").await.is_ok() {
        let mut response = [0; 1024];
        let Ok(1..) = chatty.read(&mut response).await else { break };
        responses += 1;
        tokio::time::advance(Duration::from_secs(5)).await;
        settle().await;
    }
    assert_eq!((responses, began.elapsed().as_secs()), (12, 60));
}

#[tokio::test(start_paused = true)]
async fn shutdown_finishes_running_requests_and_accepts_no_connection() {
    let house = house(4, None);
    let mut working = house.reports("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n").await;
    settle().await;
    house.stop.cancel();
    settle().await;
    house.permits.add_permits(1);
    assert!(rest(&mut working).await.ends_with("\r\n\r\ndone"));
    assert!(house.listener.is_closed());
}
