//! The token that commands sign in with, from a file that something else may rewrite at any time.

use std::{
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use tidings::limits::COMMAND_TOKEN_FRESH;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::Interceptor,
};

use crate::error::Error;

/// Signs each call in; none, where there is no file.
#[derive(Clone)]
pub(crate) struct Token(Option<Arc<File>>);

struct File {
    path: PathBuf,
    read: Mutex<(Instant, MetadataValue<Ascii>)>,
}

impl Token {
    /// Reads the file.
    pub(crate) fn open(path: Option<PathBuf>) -> Result<Self, Error> {
        let Some(path) = path else { return Ok(Self(None)) };
        match read(&path) {
            Ok(value) => Ok(Self(Some(Arc::new(File { path, read: Mutex::new((Instant::now(), value)) })))),
            Err(error) => Err(Error::Input { name: path.display().to_string(), cause: error }),
        }
    }
}

impl File {
    fn value(&self) -> MetadataValue<Ascii> {
        let mut last = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0.elapsed() >= COMMAND_TOKEN_FRESH {
            // While it can't be read, what it was may still be good.
            let value = read(&self.path).unwrap_or_else(|_| last.1.clone());
            *last = (Instant::now(), value);
        }
        last.1.clone()
    }
}

fn read(path: &PathBuf) -> io::Result<MetadataValue<Ascii>> {
    let text = fs::read_to_string(path)?;
    let value = format!("Bearer {}", text.trim()).parse::<MetadataValue<Ascii>>();
    let mut value = value.map_err(|_| io::Error::other("it holds no token"))?;
    value.set_sensitive(true);
    Ok(value)
}

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(file) = &self.0 {
            request.metadata_mut().insert("authorization", file.value());
        }
        Ok(request)
    }
}
