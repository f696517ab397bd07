#[tokio::test]
async fn zz() {
    for _ in 0..3 {
        let t = std::time::Instant::now();
        let p = sandbox::Provider::start(crate::client::aggregator()).await.unwrap();
        eprintln!("start {:?}", t.elapsed());
        let p = sandbox::Provider::start(sandbox::provider::Settings {
            image_px: 512,
            ..crate::client::aggregator()
        })
        .await
        .unwrap();
        let u =
            crate::client::urls(crate::client::generations(&p, &crate::client::asks(&p, "hello there", 10)))
                .await
                .unwrap();
        let t = std::time::Instant::now();
        for u in &u {
            crate::client::http().get(u).send().await.unwrap().bytes().await.unwrap();
        }
        eprintln!("10 pictures {:?}", t.elapsed());
        let mut r = crate::client::asks(&p, "hello there", 10);
        r["image"] = serde_json::json!(p.serve_photo(
            "x",
            std::fs::read("../fixtures/portrait.jpg").unwrap(),
            "image/jpeg"
        ));
        let u = crate::client::urls(crate::client::generations(&p, &r)).await.unwrap();
        let t = std::time::Instant::now();
        let mut n = 0;
        for (i, u) in u.iter().enumerate() {
            let b = crate::client::http().get(u).send().await.unwrap().bytes().await.unwrap();
            n += b.len();
            std::fs::write(format!("/tmp/pic{i}.jpg"), b).unwrap();
        }
        eprintln!("10 portraits {:?} {n}", t.elapsed());
    }
}
