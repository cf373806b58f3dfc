//! pgwitness._core: what happens once a frame. The interface is typed and documented in `src/pgwitness/_core.pyi`.

mod control;
mod copy;
mod durable;
mod engine;
mod frame;
mod mailbox;
mod pump;
mod reader;
mod recovery;
mod relay;
mod results;
mod segment;
mod stream;
mod tape;
mod tape_api;
mod tls;
mod worker;

use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyOSError};
use pyo3::prelude::*;

create_exception!(pgwitness._core, StreamError, PyOSError);
create_exception!(pgwitness._core, ProtocolError, PyException);
create_exception!(pgwitness._core, TapeError, PyOSError);
create_exception!(pgwitness._core, TapeCorrupt, PyException);

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("StreamError", py.get_type::<StreamError>())?;
    module.add("ProtocolError", py.get_type::<ProtocolError>())?;
    module.add("TapeError", py.get_type::<TapeError>())?;
    module.add("TapeCorrupt", py.get_type::<TapeCorrupt>())?;
    module.add("KIND_SESSION_STARTED", tape::KIND_SESSION_STARTED)?;
    module.add("KIND_CLIENT", tape::KIND_CLIENT)?;
    module.add("KIND_SERVER", tape::KIND_SERVER)?;
    module.add("KIND_ELIDED", tape::KIND_ELIDED)?;
    module.add("KIND_EVENT", tape::KIND_EVENT)?;
    module.add("KIND_SESSION_ENDED", tape::KIND_SESSION_ENDED)?;
    module.add("KIND_RECORDER", tape::KIND_RECORDER)?;
    module.add("KIND_ROSTER", tape::KIND_ROSTER)?;
    module.add_class::<engine::Engine>()?;
    module.add_class::<engine::Listener>()?;
    module.add_class::<stream::Stream>()?;
    module.add_class::<tls::TlsInfo>()?;
    module.add_class::<tls::TlsServer>()?;
    module.add_class::<tls::TlsClient>()?;
    module.add_class::<control::Relay>()?;
    module.add_class::<control::RelayEnd>()?;
    module.add_class::<tape_api::Tape>()?;
    module.add_class::<tape_api::Recovery>()?;
    module.add_class::<tape_api::SessionTape>()?;
    module.add_class::<tape_api::TapeReader>()?;
    Ok(())
}
