//! Which methods an address of the API answers to.

use poem_openapi::OpenApi;

/// The paths of the API.
#[derive(Debug)]
pub struct Paths(Vec<(Vec<String>, Vec<String>)>);

impl Paths {
    /// Those of an API.
    pub fn of<T: OpenApi>() -> Self {
        let mut paths: Vec<(Vec<String>, Vec<String>)> = Vec::new();
        for path in T::meta().into_iter().flat_map(|api| api.paths) {
            let segments: Vec<String> = segments(&path.path).map(str::to_owned).collect();
            let methods = path.operations.iter().map(|operation| operation.method.to_string());
            match paths.iter_mut().find(|(known, _)| *known == segments) {
                Some((_, known)) => known.extend(methods),
                None => paths.push((segments, methods.collect())),
            }
        }
        for (_, methods) in &mut paths {
            if let Some(get) = methods.iter().position(|method| method == "GET") {
                methods.insert(get + 1, "HEAD".to_owned());
            }
        }
        Self(paths)
    }

    /// The words that they are made of.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        let words = self.0.iter().flat_map(|(segments, _)| segments).map(String::as_str);
        words.filter(|word| !word.starts_with('{'))
    }

    /// The methods of this address, as the header `Allow` lists them; `None` if there is no such address.
    pub fn methods(&self, path: &str) -> Option<String> {
        let asked: Vec<&str> = segments(path).collect();
        let fits = |known: &[String]| {
            known.len() == asked.len()
                && known.iter().zip(&asked).all(|(known, asked)| known.starts_with('{') || known == asked)
        };
        // One without a variable in this place comes first: `/api/calls/export` is not the call `export`.
        let mut fitting: Vec<_> = self.0.iter().filter(|(known, _)| fits(known)).collect();
        fitting.sort_by_key(|(known, _)| known.iter().filter(|segment| segment.starts_with('{')).count());
        fitting.first().map(|(_, methods)| methods.join(", "))
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.trim_matches('/').split('/')
}

#[cfg(test)]
mod tests {
    use super::super::Api;
    use super::*;

    #[test]
    fn every_address_knows_its_methods() {
        let paths = Paths::of::<Api>();
        let methods = |path| paths.methods(path).unwrap_or_default();
        assert_eq!(methods("/api/keys"), "GET, HEAD, POST");
        assert_eq!(methods("/api/keys/019b8e2c-7c1b-7c3a-9f21-6d1f0c9a4e11"), "GET, HEAD");
        assert_eq!(methods("/api/keys/x/rotate/"), "POST");
        assert_eq!(paths.methods("/api/nothing"), None);
    }
}
