//! The results as JUnit XML, for CI servers.

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use super::compare::Difference;
use super::report::{CaseReport, Report, SuiteReport};

/// One `testsuites` element, with a `testsuite` for each file.
pub(super) fn xml(report: &Report) -> anyhow::Result<Vec<u8>> {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    writer
        .create_element("testsuites")
        .with_attribute(("name", "hopgate policy test"))
        .write_inner_content(|writer| {
            for one in &report.suites {
                suite(writer, one)?;
            }
            Ok(())
        })?;
    let mut out = writer.into_inner();
    out.push(b'\n');
    Ok(out)
}

fn suite(writer: &mut Writer<Vec<u8>>, suite: &SuiteReport) -> std::io::Result<()> {
    let failed = suite.cases.iter().filter(|case| !case.differences.is_empty()).count();
    let (all, failed) = (suite.cases.len().to_string(), failed.to_string());
    writer
        .create_element("testsuite")
        .with_attributes([
            ("name", suite.file.as_str()),
            ("tests", all.as_str()),
            ("failures", failed.as_str()),
            ("errors", "0"),
        ])
        .write_inner_content(|writer| {
            for one in &suite.cases {
                case(writer, &suite.file, one)?;
            }
            Ok(())
        })?;
    Ok(())
}

fn case(writer: &mut Writer<Vec<u8>>, file: &str, case: &CaseReport) -> std::io::Result<()> {
    let line = case.line.map(|line| line.to_string()).unwrap_or_default();
    let element = writer.create_element("testcase").with_attributes([
        ("name", case.name.as_str()),
        ("classname", file),
        ("file", file),
        ("line", line.as_str()),
    ]);
    if case.differences.is_empty() {
        element.write_empty()?;
        return Ok(());
    }
    let lines: Vec<String> = case
        .differences
        .iter()
        .map(|Difference { what, expected, got }| format!("{what}: expected {expected}, got {got}"))
        .collect();
    let message = lines.join("; ");
    let text = [lines, case.why.clone()].concat().join("\n");
    element.write_inner_content(|writer| {
        writer
            .create_element("failure")
            .with_attribute(("message", message.as_str()))
            .write_text_content(BytesText::new(&text))?;
        Ok(())
    })?;
    Ok(())
}
