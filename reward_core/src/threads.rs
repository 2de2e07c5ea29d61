//! How many threads work on a batch.

use rayon::{ThreadPool, ThreadPoolBuilder};
use std::sync::{Arc, Mutex, PoisonError};

/// The pool in use, and the process that it belongs to: threads do not survive a fork.
struct State {
    threads: usize,
    pool: Option<(u32, Arc<ThreadPool>)>,
}

static STATE: Mutex<State> = Mutex::new(State {
    threads: 0,
    pool: None,
});

/// Threads to use from now on; 0 means `MEDGRPO_NUM_THREADS`, or else every processor.
pub fn set_num_threads(threads: usize) {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    state.threads = threads;
    state.pool = None;
}

/// Threads in use.
#[must_use]
pub fn num_threads() -> usize {
    let threads = STATE.lock().unwrap_or_else(PoisonError::into_inner).threads;
    if threads > 0 {
        return threads;
    }
    let wanted = std::env::var("MEDGRPO_NUM_THREADS")
        .ok()
        .and_then(|text| text.parse().ok());
    match wanted {
        Some(threads) if threads > 0 => threads,
        _ => std::thread::available_parallelism().map_or(1, usize::from),
    }
}

/// The pool to work in; none for one thread, or where the system gives no more.
fn pool() -> Option<Arc<ThreadPool>> {
    let threads = num_threads();
    if threads == 1 {
        return None;
    }
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    let process = std::process::id();
    if let Some((owner, pool)) = &state.pool {
        if *owner == process && pool.current_num_threads() == threads {
            return Some(Arc::clone(pool));
        }
    }
    let name = |number| format!("medgrpo-{number}");
    let pool = Arc::new(
        ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(name)
            .build()
            .ok()?,
    );
    if let Some((owner, old)) = state.pool.replace((process, Arc::clone(&pool))) {
        if owner != process {
            std::mem::forget(old); // its threads live in the parent: nothing to join
        }
    }
    Some(pool)
}

/// Calls `work(index, item)` for every item, on several threads where that is worth it.
///
/// The result does not depend on the number of threads: each item is worked on alone.
pub fn for_each<T: Send>(items: Vec<T>, is_large: bool, work: impl Fn(usize, T) + Sync + Send) {
    use rayon::prelude::*;
    let pool = if is_large && items.len() > 1 {
        pool()
    } else {
        None
    };
    match pool {
        Some(pool) => pool.install(|| {
            items
                .into_par_iter()
                .enumerate()
                .with_max_len(1)
                .for_each(|(index, item)| work(index, item));
        }),
        None => items
            .into_iter()
            .enumerate()
            .for_each(|(index, item)| work(index, item)),
    }
}
