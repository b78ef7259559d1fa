//! Which objects a list or a watch is about.

use super::{
    object::Object,
    query::Query,
    route::ResourcePath,
    selector::{FieldSelector, LabelSelector},
    status::ApiError,
};

/// Namespace and selectors of a request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    namespace: Option<String>,
    /// A watch of one object is a watch with a name.
    name: Option<String>,
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Filter {
    /// Reads the selectors of a request.
    pub(crate) fn parse(path: &ResourcePath, query: &Query) -> Result<Self, ApiError> {
        let label_text = query.get("labelSelector").unwrap_or_default();
        let field_text = query.get("fieldSelector").unwrap_or_default();
        let labels = LabelSelector::parse(label_text).map_err(ApiError::bad_request)?;
        let fields = FieldSelector::parse(field_text).map_err(ApiError::bad_request)?;
        let info = path.resource.info();
        if let Some(field) = fields.unsupported(info.selectable) {
            return Err(ApiError::bad_request(format!(
                "Unable to find \"{group}/{version}, Resource={plural}\" that match label selector \
                 \"{label_text}\", field selector \"{field_text}\": field label not supported: \
                 {field}",
                group = info.group,
                version = info.version,
                plural = info.plural,
            )));
        }
        Ok(Self { namespace: path.namespace.clone(), name: path.name.clone(), labels, fields })
    }

    /// Whether an object belongs to the answer.
    pub(crate) fn matches(&self, object: &Object) -> bool {
        self.namespace.as_deref().is_none_or(|namespace| namespace == object.namespace())
            && self.name.as_deref().is_none_or(|name| name == object.name())
            && self.labels.matches(object)
            && self.fields.matches(object)
    }

    /// Whether the request has selectors; then the server does not count what is left.
    pub(crate) fn selects(&self) -> bool {
        !self.labels.is_empty() || !self.fields.is_empty()
    }
}
