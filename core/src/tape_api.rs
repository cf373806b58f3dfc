//! The tape as Python sees it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};

use crate::reader::{ReadError, Reader};
use crate::segment::{MAX_PAYLOAD, SessionId};
use crate::tape::{self, KIND_EVENT};
use crate::{TapeCorrupt, TapeError, recovery};

const SMALLEST_SEGMENT: usize = 4 * MAX_PAYLOAD;
const LARGEST_SEGMENT: usize = 1 << 30;

fn refused(error: std::io::Error) -> PyErr {
    TapeError::new_err(error.to_string())
}

fn session_id(bytes: &[u8]) -> PyResult<SessionId> {
    bytes.try_into().map_err(|_| PyValueError::new_err("a session id has 16 bytes"))
}

#[pyclass(frozen, module = "pgwitness._core")]
pub struct Tape {
    tape: Arc<tape::Tape>,
    recovery: Option<recovery::Recovery>,
}

#[pymethods]
impl Tape {
    #[new]
    #[pyo3(signature = (directory, *, segment_bytes=67_108_864, durability="process"))]
    fn new(py: Python<'_>, directory: PathBuf, segment_bytes: usize, durability: &str) -> PyResult<Self> {
        if !(SMALLEST_SEGMENT..=LARGEST_SEGMENT).contains(&segment_bytes)
            || !segment_bytes.is_multiple_of(4096)
        {
            let text = format!(
                "segment_bytes must be a multiple of 4096 from {SMALLEST_SEGMENT} to {LARGEST_SEGMENT}, not {segment_bytes}"
            );
            return Err(PyValueError::new_err(text));
        }
        let disk = match durability {
            "process" => false,
            "disk" => true,
            _ => return Err(PyValueError::new_err("durability is 'process' or 'disk'")),
        };
        let (tape, recovery) =
            py.detach(|| tape::Tape::open(&directory, segment_bytes, disk)).map_err(|error| {
                TapeError::new_err(format!("cannot record to {}: {error}", directory.display()))
            })?;
        Ok(Tape { tape, recovery })
    }

    #[getter]
    fn recovery(&self) -> Option<Recovery> {
        self.recovery.as_ref().map(|found| Recovery {
            segment: found.segment,
            offset: found.offset,
            discarded_bytes: found.discarded_bytes,
            open_sessions: found.open_sessions.clone(),
        })
    }

    #[getter]
    fn position(&self) -> u64 {
        self.tape.position()
    }

    fn record(&self, payload: &[u8]) -> PyResult<()> {
        self.tape.record(payload).map_err(refused)
    }

    fn open_session(&self, session: &[u8], payload: &[u8]) -> PyResult<SessionTape> {
        let session = self.tape.open_session(session_id(session)?, payload).map_err(refused)?;
        Ok(SessionTape { session: Arc::new(session) })
    }

    fn end_interrupted(&self, session: &[u8], payload: &[u8]) -> PyResult<()> {
        self.tape.end_interrupted(session_id(session)?, payload).map_err(refused)
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.tape.close()).map_err(refused)
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        // Nobody is left to hear of a failure; recovery at the next start says what happened.
        let _ = Python::attach(|py| self.close(py));
    }
}

#[pyclass(frozen, module = "pgwitness._core")]
pub struct Recovery {
    #[pyo3(get)]
    segment: u32,
    #[pyo3(get)]
    offset: u64,
    #[pyo3(get)]
    discarded_bytes: u64,
    open_sessions: Vec<(SessionId, u64)>,
}

#[pymethods]
impl Recovery {
    #[getter]
    fn open_sessions<'py>(&self, py: Python<'py>) -> Vec<(Bound<'py, PyBytes>, u64)> {
        self.open_sessions.iter().map(|(id, next)| (PyBytes::new(py, id), *next)).collect()
    }
}

#[pyclass(frozen, module = "pgwitness._core")]
pub struct SessionTape {
    pub session: Arc<tape::Session>,
}

#[pymethods]
impl SessionTape {
    fn event(&self, payload: &[u8]) -> PyResult<()> {
        self.session.append(KIND_EVENT, payload).map(drop).map_err(refused)
    }

    fn end(&self, payload: &[u8]) -> PyResult<()> {
        self.session.end(payload).map_err(refused)
    }
}

#[pyclass(frozen, module = "pgwitness._core")]
pub struct TapeReader {
    reader: Mutex<Reader>,
}

#[pymethods]
impl TapeReader {
    #[new]
    #[pyo3(signature = (directory, position=0, *, session=None))]
    fn new(directory: PathBuf, position: u64, session: Option<&[u8]>) -> PyResult<Self> {
        let session = session.map(session_id).transpose()?;
        Ok(TapeReader { reader: Mutex::new(Reader::new(&directory, position, session)) })
    }

    #[pyo3(signature = (max_frames=4096, max_bytes=1_048_576))]
    fn read<'py>(
        &self,
        py: Python<'py>,
        max_frames: usize,
        max_bytes: usize,
    ) -> PyResult<Bound<'py, PyList>> {
        let frames = py.detach(|| self.reader.lock().unwrap().read(max_frames, max_bytes));
        let frames = frames.map_err(|error| match error {
            ReadError::Io(error) => PyErr::from(error),
            ReadError::Corrupt(text) => TapeCorrupt::new_err(text),
        })?;
        let tuples = frames.into_iter().map(|frame| {
            let head = frame.head;
            let session = PyBytes::new(py, &head.session);
            let payload = PyBytes::new(py, &frame.payload);
            (session, head.sequence, head.kind, head.time, frame.position, payload).into_pyobject(py)
        });
        let tuples: Vec<Bound<'py, PyTuple>> = tuples.collect::<Result<_, _>>()?;
        PyList::new(py, tuples)
    }

    #[getter]
    fn position(&self) -> u64 {
        self.reader.lock().unwrap().position()
    }
}
