//! Words of the page: escaping, and the names that people read instead of the columns'.

use super::super::experiment::Settings;

/// Text as HTML or SVG text or attribute.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// A column's name for people: `latency_p50_ms` is “p50 (ms)”.
pub(super) fn column(name: &str) -> String {
    match name {
        "requests_per_second" => "requests/s".to_owned(),
        "failed_share" => "share that failed".to_owned(),
        "nodes_cpu_ms" => "nodes' CPU per request (ms)".to_owned(),
        "offered_per_second" => "requests that came/s".to_owned(),
        "drain_seconds" => "drain (s)".to_owned(),
        "idle_nodes_cpu_ms" => "CPU of nodes not asked (ms)".to_owned(),
        "node_cpu_mean_ms" => "CPU of a node, mean (ms)".to_owned(),
        "node_cpu_max_ms" => "CPU of the busiest node (ms)".to_owned(),
        "node_bytes_sent_max" => "bytes sent to one node, most".to_owned(),
        "node_bytes_received_max" => "bytes received of one node, most".to_owned(),
        "client_cpu_ms" => "client's CPU per request (ms)".to_owned(),
        "relay_cpu_ms" => "relay's CPU per request (ms)".to_owned(),
        "steal_share" => "processors stolen (share)".to_owned(),
        "network_ms" => "network (ms)".to_owned(),
        "nodes_asked" => "nodes asked per request".to_owned(),
        "bytes_sent" => "bytes sent per request".to_owned(),
        "bytes_received" => "bytes received per request".to_owned(),
        _ if name.ends_with("_share") => name.replace('_', " "),
        _ => {
            let (name, unit) = match name.strip_suffix("_ms") {
                Some(name) => (name, " (ms)"),
                None => (name, ""),
            };
            let name = name.strip_prefix("latency_").unwrap_or(name);
            let name = name.strip_suffix("_mean").unwrap_or(name);
            format!("{}{unit}", name.replace('_', " "))
        }
    }
}

/// The same without its unit, for legends.
pub(super) fn short_column(name: &str) -> String {
    let text = column(name);
    text.strip_suffix(" (ms)").unwrap_or(&text).to_owned()
}

/// What an axis with these columns is named.
pub(super) fn axis(columns: &[String]) -> String {
    match columns {
        [one] if !one.starts_with("latency_") => column(one),
        _ if columns.iter().all(|name| name.starts_with("latency_")) => "time (ms)".to_owned(),
        _ => columns
            .iter()
            .map(|name| column(name))
            .collect::<Vec<_>>()
            .join(", "),
    }
}

/// An axis' name, and that it is not a linear one.
pub(super) fn scaled(name: &str, log: bool) -> String {
    if log {
        format!("{name}, logarithmic")
    } else {
        name.to_owned()
    }
}

/// A setting's name for people.
pub(super) fn setting(name: &str) -> String {
    match name {
        "members" => "nodes, n".to_owned(),
        "threshold" => "threshold, t".to_owned(),
        "rate" => "offered requests/s".to_owned(),
        _ => name.trim_start_matches('_').replace(['-', '_'], " "),
    }
}

/// The values of some settings in one line; those whose value alone says nothing with their names.
pub(super) fn values(of: &Settings, names: &[String]) -> String {
    let parts: Vec<String> = names
        .iter()
        .filter_map(|name| {
            let value = of.get(name)?;
            Some(match name.as_str() {
                "members" => format!("n = {value}"),
                "threshold" => format!("t = {value}"),
                "rate" => format!("{value}/s"),
                "bytes" | "approvals" | "organisations" | "requests" if value == "1" => {
                    format!("1 {}", name.trim_end_matches('s'))
                }
                "bytes" | "approvals" | "organisations" | "requests" => format!("{value} {name}"),
                _ if value.parse::<f64>().is_ok() => format!("{} {value}", setting(name)),
                _ if value.is_empty() => format!("no {}", setting(name)),
                _ if value == "true" => setting(name),
                _ if value == "false" => format!("no {}", setting(name)),
                _ => value.clone(),
            })
        })
        .collect();
    parts.join(", ")
}
