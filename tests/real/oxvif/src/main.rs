//! The mock camera of the `oxvif` crate, which wants a WS-UsernameToken (PasswordDigest) for everything but the time.
//!
//! Arguments: PORT on loopback, then a file with one line USER:PASSWORD, the camera's only account. Runs until it is ended.

use std::{error::Error, future, io};

use oxvif::mock::{DeviceState, MockServer};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(port), Some(account), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("usage: oxvif-camera PORT ACCOUNT_FILE".into());
    };
    let account = std::fs::read_to_string(account)?;
    let (username, password) = account
        .trim_end_matches('\n')
        .split_once(':')
        .ok_or_else(|| io::Error::other("the account is not one line USER:PASSWORD"))?;
    let mut state = DeviceState::default();
    // Its first one is the Administrator.
    state.users.truncate(1);
    for user in &mut state.users {
        (user.username, user.password) = (username.to_owned(), password.to_owned());
    }
    let camera = MockServer::builder().port(port.parse()?).initial_state(state).enforce_auth(true).start().await?;
    println!("{}", camera.device_url());
    future::pending::<()>().await;
    Ok(())
}
