//! The manual page of a program: the program, then each command with its flags, on one page.

use std::io;

use clap::Command;
use clap_mangen::Man;

/// The page, in roff.
///
/// # Errors
/// If it cannot be rendered.
pub fn manual_page(mut program: Command) -> io::Result<String> {
    program.build();
    let mut page = Vec::new();
    Man::new(program.clone()).render(&mut page)?;
    add_commands(&program, "", &mut page)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

/// Adds the commands below one, each under a heading with its whole name.
fn add_commands(command: &Command, above: &str, page: &mut Vec<u8>) -> io::Result<()> {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set() && below.get_name() != "help") {
        let name = format!("{above}{}", below.get_name());
        let man = Man::new(below.clone());
        page.extend_from_slice(format!(".SH \"{}\"\n", name.to_uppercase()).as_bytes());
        man.render_description_section(page)?;
        man.render_options_section(page)?;
        man.render_extra_section(page)?;
        add_commands(below, &format!("{name} "), page)?;
    }
    Ok(())
}
