//! `darkroom migrate`: the database's schema.

use worker::Config;

use crate::exit::Exit;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    direction: Direction,
}

#[derive(clap::Subcommand)]
enum Direction {
    /// Apply all pending migrations; safe to repeat, and from several machines at once.
    Up,
    /// Revert the last migrations. Loses what they hold.
    Down {
        /// How many.
        #[arg(long, default_value_t = 1)]
        steps: u32,
    },
    /// List pending migrations, one a line.
    Status,
}

pub(crate) async fn run(mut config: Config, args: Args) -> anyhow::Result<Exit> {
    config.validate_database()?;
    // A migration, and waiting for somebody else's, takes as long as it takes.
    config.database.statement_timeout_ms = 0;
    let database = database::connect(&config.database, 2).await?;
    match args.direction {
        Direction::Up => {
            let applied = migrations::up(&database).await?;
            eprintln!("{applied} migrations applied");
        }
        Direction::Down { steps } => {
            let reverted = migrations::down(&database, steps).await?;
            eprintln!("{reverted} migrations reverted");
        }
        Direction::Status => {
            migrations::pending(&database).await?.iter().for_each(|name| println!("{name}"));
        }
    }
    Ok(Exit::Success)
}
