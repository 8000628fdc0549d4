//! Questions over UDP. Beyond a bound one is dropped, and clients ask again.

use std::rc::Rc;

use tokio::net::UdpSocket;

use skerry_host_process::dns::HEADER;
use skerry_host_process::shares::Shares;
use skerry_host_process::waiting::pause;

use crate::names::Names;
use crate::settings::Settings;
use crate::upstream::{ask, server_failure, MAX_QUESTION};

pub async fn serve(socket: UdpSocket, settings: Rc<Settings>, names: Rc<Names>) {
    let socket = Rc::new(socket);
    let shares = Shares::new(settings.questions, settings.relay);
    let scratch = crate::upstream::scratch();
    let mut buffer = [0; MAX_QUESTION + 1]; // a question that fills it is too long
    loop {
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else {
            pause().await;
            continue;
        };
        // Port 0 is what only a forged packet has: nothing can be sent there.
        if client.port() == 0 || !(HEADER..=MAX_QUESTION).contains(&length) {
            continue;
        }
        let question = buffer[..length].to_vec();
        let (socket, settings, scratch, names) = (socket.clone(), settings.clone(), scratch.clone(), names.clone());
        shares.run(client.ip(), async move {
            let answer = match ask(&question, &settings, &scratch).await {
                Some(answer) => answer,
                None => server_failure(question),
            };
            names.note(client.ip(), &answer);
            let _ = socket.send_to(&answer, client).await; // a client that left hears nothing
        });
    }
}
